-- What outlives the process besides peers: certificates, and who is getting one.

-- +goose Up
CREATE TABLE blobs (
    name    TEXT PRIMARY KEY, -- a path, such as a/b/c
    value   BLOB NOT NULL,
    changed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE locks (
    name  TEXT PRIMARY KEY,
    fence INTEGER NOT NULL, -- of the table epochs: no two holders have the same
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE locks;
DROP TABLE blobs;
