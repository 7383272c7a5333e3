-- Browsers that are signed in are tokens of another kind, and peers leave the
-- time of their last connection. Everything is added, so that instances of the
-- version before go on beside.

-- +goose Up
ALTER TABLE admin_tokens ADD COLUMN session boolean NOT NULL DEFAULT false;
ALTER TABLE admin_tokens ADD COLUMN parent bytea NOT NULL DEFAULT '\x0000000000000000'; -- id of the token that opened the session
CREATE INDEX admin_tokens_parent ON admin_tokens (session, parent);

-- When a peer's last connection ended. A row of a peer that is connected is old.
CREATE TABLE last_seen (
    peer bytea PRIMARY KEY,
    at   bigint NOT NULL
) WITH (fillfactor = 70);

-- +goose Down
DROP TABLE last_seen;
DROP INDEX admin_tokens_parent;
ALTER TABLE admin_tokens DROP COLUMN parent;
ALTER TABLE admin_tokens DROP COLUMN session;
