-- Browsers that are signed in are tokens of another kind, and peers leave the
-- time of their last connection. Everything is added to what stands.

-- +goose Up
ALTER TABLE admin_tokens ADD COLUMN session INTEGER NOT NULL DEFAULT 0;
ALTER TABLE admin_tokens ADD COLUMN parent BLOB NOT NULL DEFAULT x'0000000000000000'; -- id of the token that opened the session
CREATE INDEX admin_tokens_parent ON admin_tokens (session, parent);

-- When a peer's last connection ended. A row of a peer that is connected is old.
CREATE TABLE last_seen (
    peer BLOB PRIMARY KEY,
    at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE last_seen;
DROP INDEX admin_tokens_parent;
ALTER TABLE admin_tokens DROP COLUMN parent;
ALTER TABLE admin_tokens DROP COLUMN session;
