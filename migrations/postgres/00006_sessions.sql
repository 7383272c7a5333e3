-- Sign-ins of browsers, which are stored as tokens with session set, and the time
-- of the last connection of each peer. All changes are additions, so that
-- instances of the previous version keep running during an upgrade.

-- +goose Up
ALTER TABLE admin_tokens ADD COLUMN session boolean NOT NULL DEFAULT false;
ALTER TABLE admin_tokens ADD COLUMN parent bytea NOT NULL DEFAULT '\x0000000000000000'; -- token that signed in
CREATE INDEX admin_tokens_parent ON admin_tokens (session, parent);

-- The end of each peer's last connection. The row of a connected peer is outdated.
CREATE TABLE last_seen (
    peer bytea PRIMARY KEY,
    at   bigint NOT NULL
) WITH (fillfactor = 70);

-- +goose Down
DROP TABLE last_seen;
DROP INDEX admin_tokens_parent;
ALTER TABLE admin_tokens DROP COLUMN parent;
ALTER TABLE admin_tokens DROP COLUMN session;
