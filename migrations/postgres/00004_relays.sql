-- The relay addresses of each instance, so that the other instances let their peers
-- reach them. Instances of the previous version leave the column empty.

-- +goose Up
ALTER TABLE instances ADD COLUMN relay text NOT NULL DEFAULT ''; -- ip:first-last

-- +goose Down
ALTER TABLE instances DROP COLUMN relay;
