-- Times are in milliseconds since 1970. PeerIDs and digests have 32 bytes.

-- +goose Up
CREATE TABLE peers (
    id           BLOB PRIMARY KEY,
    public_key   BLOB NOT NULL,
    name         TEXT NOT NULL,
    created      INTEGER NOT NULL,
    token_prefix BLOB NOT NULL UNIQUE,
    token_hash   BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Used challenges that have not expired.
CREATE TABLE challenges (
    random  BLOB PRIMARY KEY,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX challenges_expires ON challenges (expires);

CREATE TABLE invites (
    hash    BLOB PRIMARY KEY,
    label   TEXT NOT NULL,
    uses    INTEGER, -- left; NULL: unlimited
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    revoked INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- owner allows peer to find and signal it. peer need not be registered.
CREATE TABLE allowed (
    owner BLOB NOT NULL,
    peer  BLOB NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (owner, peer)
) STRICT, WITHOUT ROWID;

CREATE TABLE mailboxes (
    address TEXT PRIMARY KEY,
    owner   BLOB NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    closed  INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX mailboxes_owner ON mailboxes (owner);
CREATE INDEX mailboxes_expires ON mailboxes (expires);

CREATE TABLE tries (
    address      TEXT NOT NULL REFERENCES mailboxes (address) ON DELETE CASCADE,
    number       INTEGER NOT NULL,
    peer         BLOB NOT NULL,
    made         INTEGER NOT NULL,
    opening      BLOB NOT NULL,
    answer       BLOB,
    confirmation BLOB,
    PRIMARY KEY (address, number)
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT, so that no epoch is used twice.
CREATE TABLE epochs (epoch INTEGER PRIMARY KEY AUTOINCREMENT) STRICT;

CREATE TABLE instances (
    name        TEXT PRIMARY KEY,
    epoch       INTEGER NOT NULL UNIQUE,
    address     TEXT NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A row counts while the lease with its epoch is held.
CREATE TABLE presence (
    peer  BLOB PRIMARY KEY,
    epoch INTEGER NOT NULL,
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX presence_epoch ON presence (epoch);

CREATE TABLE secrets (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE secrets;
DROP TABLE presence;
DROP TABLE instances;
DROP TABLE epochs;
DROP TABLE tries;
DROP TABLE mailboxes;
DROP TABLE allowed;
DROP TABLE invites;
DROP TABLE challenges;
DROP TABLE peers;
