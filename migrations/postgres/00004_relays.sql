-- Where each instance relays, so that the others let their peers reach it. An
-- instance of the version before has none, and reads past it.

-- +goose Up
ALTER TABLE instances ADD COLUMN relay text NOT NULL DEFAULT ''; -- ip:first-last

-- +goose Down
ALTER TABLE instances DROP COLUMN relay;
