-- Leases are lost together with the presence under them when a process of the
-- database crashes, a standby takes over, or a backup is restored. An instance
-- that finds no lease takes a new one and writes its peers again. Nothing else
-- would tell the instance that the presence is lost.

-- +goose Up
ALTER TABLE instances SET UNLOGGED;

-- +goose Down
ALTER TABLE instances SET LOGGED;
