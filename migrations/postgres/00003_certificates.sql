-- What instances share besides peers: certificates, and who is getting one.

-- +goose Up
CREATE TABLE blobs (
    name    text COLLATE "C" PRIMARY KEY, -- a path, such as a/b/c
    value   bytea NOT NULL,
    changed bigint NOT NULL
);

CREATE TABLE locks (
    name  text COLLATE "C" PRIMARY KEY,
    fence bigint NOT NULL, -- of the sequence epochs: no two holders have the same
    until bigint NOT NULL
);

-- +goose Down
DROP TABLE locks;
DROP TABLE blobs;
