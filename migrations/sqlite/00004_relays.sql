-- Where each instance relays, so that the others let their peers reach it.

-- +goose Up
ALTER TABLE instances ADD COLUMN relay TEXT NOT NULL DEFAULT ''; -- ip:first-last

-- +goose Down
ALTER TABLE instances DROP COLUMN relay;
