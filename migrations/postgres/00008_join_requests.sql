-- Peers that tried to register without an invite. Instances of the previous
-- version neither write nor read the table.

-- +goose Up
CREATE TABLE join_requests (
    peer   bytea PRIMARY KEY,
    source text NOT NULL, -- IPv4 address or IPv6 /64, '' if unknown
    at     bigint NOT NULL -- of the last try
);
CREATE INDEX join_requests_at ON join_requests (at);

-- +goose Down
DROP TABLE join_requests;
