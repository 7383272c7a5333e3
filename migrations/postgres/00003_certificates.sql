-- Certificates, which instances share, and locks for requesting them.

-- +goose Up
CREATE TABLE blobs (
    name    text COLLATE "C" PRIMARY KEY, -- a path such as a/b/c
    value   bytea NOT NULL,
    changed bigint NOT NULL
);

CREATE TABLE locks (
    name  text COLLATE "C" PRIMARY KEY,
    fence bigint NOT NULL, -- from the sequence epochs: different for each holder
    until bigint NOT NULL
);

-- +goose Down
DROP TABLE locks;
DROP TABLE blobs;
