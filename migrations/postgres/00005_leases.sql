-- Leases are lost together with the presence under them, whatever the database
-- went through: a crash of one of its processes, a fail-over to a standby, a
-- restore. An instance that finds no lease takes another and writes its peers
-- anew; nothing else would tell it that the presence is gone.

-- +goose Up
ALTER TABLE instances SET UNLOGGED;

-- +goose Down
ALTER TABLE instances SET LOGGED;
