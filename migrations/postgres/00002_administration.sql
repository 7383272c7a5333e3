-- Administration. All changes are additions, so that instances of the previous
-- version keep running during an upgrade.

-- +goose Up
ALTER TABLE peers ADD COLUMN version bigint NOT NULL DEFAULT 1; -- number of changes of the name, from 1
ALTER TABLE peers ADD COLUMN named boolean NOT NULL DEFAULT false; -- whether an administrator gave the name
ALTER TABLE invites ADD COLUMN used integer NOT NULL DEFAULT 0;
CREATE INDEX invites_created ON invites (created, hash);
CREATE INDEX allowed_peer ON allowed (peer);
ALTER TABLE instances ADD COLUMN region text NOT NULL DEFAULT '';

CREATE TABLE admin_tokens (
    id      bytea PRIMARY KEY, -- public prefix of the token
    hash    bytea NOT NULL,
    label   text NOT NULL,
    scopes  integer NOT NULL, -- bits
    created bigint NOT NULL,
    expires bigint NOT NULL,
    revoked boolean NOT NULL DEFAULT false
);

-- At most one row: the one-time link for the first administrator.
CREATE TABLE admin_links (
    hash    bytea PRIMARY KEY,
    expires bigint NOT NULL
);

-- The peers that cannot register, in the order of their revocation.
CREATE TABLE revocations (
    seq  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    peer bytea NOT NULL UNIQUE,
    name text NOT NULL,
    at   bigint NOT NULL
);

-- The peers that can register once without an invite.
CREATE TABLE approvals (
    peer    bytea PRIMARY KEY,
    expires bigint NOT NULL
);

CREATE TABLE audit (
    seq    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     bigint NOT NULL,
    kind   text NOT NULL,
    actor  text NOT NULL,
    peer   bytea, -- NULL if the event concerns no peer
    other  bytea,
    source text NOT NULL,
    detail text NOT NULL,
    count  integer NOT NULL
);
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
