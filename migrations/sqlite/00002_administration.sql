-- Administration.

-- +goose Up
ALTER TABLE peers ADD COLUMN version INTEGER NOT NULL DEFAULT 1; -- number of changes of the name, from 1
ALTER TABLE peers ADD COLUMN named INTEGER NOT NULL DEFAULT 0; -- whether an administrator gave the name
ALTER TABLE invites ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
CREATE INDEX invites_created ON invites (created, hash);
CREATE INDEX allowed_peer ON allowed (peer);
ALTER TABLE instances ADD COLUMN region TEXT NOT NULL DEFAULT '';

CREATE TABLE admin_tokens (
    id      BLOB PRIMARY KEY, -- public prefix of the token
    hash    BLOB NOT NULL,
    label   TEXT NOT NULL,
    scopes  INTEGER NOT NULL, -- bits
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    revoked INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- At most one row: the one-time link for the first administrator.
CREATE TABLE admin_links (
    hash    BLOB PRIMARY KEY,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The peers that cannot register, in the order of their revocation.
-- AUTOINCREMENT, so that no number is used twice.
CREATE TABLE revocations (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    peer BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    at   INTEGER NOT NULL
) STRICT;

-- The peers that can register once without an invite.
CREATE TABLE approvals (
    peer    BLOB PRIMARY KEY,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    kind   TEXT NOT NULL,
    actor  TEXT NOT NULL,
    peer   BLOB, -- NULL if the event concerns no peer
    other  BLOB,
    source TEXT NOT NULL,
    detail TEXT NOT NULL,
    count  INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_kind ON audit (kind, seq);
CREATE INDEX audit_peer ON audit (peer, seq) WHERE peer IS NOT NULL;

-- +goose Down
DROP TABLE audit;
DROP TABLE approvals;
DROP TABLE revocations;
DROP TABLE admin_links;
DROP TABLE admin_tokens;
ALTER TABLE instances DROP COLUMN region;
DROP INDEX allowed_peer;
DROP INDEX invites_created;
ALTER TABLE invites DROP COLUMN used;
ALTER TABLE peers DROP COLUMN named;
ALTER TABLE peers DROP COLUMN version;
