-- Sign-ins of browsers, which are stored as tokens with session set, and the time
-- of the last connection of each peer.

-- +goose Up
ALTER TABLE admin_tokens ADD COLUMN session INTEGER NOT NULL DEFAULT 0;
ALTER TABLE admin_tokens ADD COLUMN parent BLOB NOT NULL DEFAULT x'0000000000000000'; -- token that signed in
CREATE INDEX admin_tokens_parent ON admin_tokens (session, parent);

-- The end of each peer's last connection. The row of a connected peer is outdated.
CREATE TABLE last_seen (
    peer BLOB PRIMARY KEY,
    at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE last_seen;
DROP INDEX admin_tokens_parent;
ALTER TABLE admin_tokens DROP COLUMN parent;
ALTER TABLE admin_tokens DROP COLUMN session;
