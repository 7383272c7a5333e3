-- Peers that tried to register without an invite.

-- +goose Up
CREATE TABLE join_requests (
    peer   BLOB PRIMARY KEY,
    source TEXT NOT NULL, -- IPv4 address or IPv6 /64, '' if unknown
    at     INTEGER NOT NULL -- of the last try
) STRICT, WITHOUT ROWID;
CREATE INDEX join_requests_at ON join_requests (at);

-- +goose Down
DROP TABLE join_requests;
