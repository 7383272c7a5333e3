-- The relay addresses of each instance.

-- +goose Up
ALTER TABLE instances ADD COLUMN relay TEXT NOT NULL DEFAULT ''; -- ip:first-last

-- +goose Down
ALTER TABLE instances DROP COLUMN relay;
