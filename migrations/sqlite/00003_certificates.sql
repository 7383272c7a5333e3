-- Certificates, and locks for requesting them.

-- +goose Up
CREATE TABLE blobs (
    name    TEXT PRIMARY KEY, -- a path such as a/b/c
    value   BLOB NOT NULL,
    changed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE locks (
    name  TEXT PRIMARY KEY,
    fence INTEGER NOT NULL, -- from the table epochs: different for each holder
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE locks;
DROP TABLE blobs;
