-- Times are in milliseconds since 1970. PeerIDs and digests have 32 bytes.

-- +goose Up
CREATE TABLE peers (
    id           bytea PRIMARY KEY,
    public_key   bytea NOT NULL,
    name         text NOT NULL,
    created      bigint NOT NULL,
    token_prefix bytea NOT NULL UNIQUE,
    token_hash   bytea NOT NULL
);

-- Used challenges that have not expired. A crash of the database empties the table:
-- challenges of the last two minutes could then be used a second time.
CREATE UNLOGGED TABLE challenges (
    random  bytea PRIMARY KEY,
    expires bigint NOT NULL
);
CREATE INDEX challenges_expires ON challenges (expires);

CREATE TABLE invites (
    hash    bytea PRIMARY KEY,
    label   text NOT NULL,
    uses    integer, -- left; NULL: unlimited
    created bigint NOT NULL,
    expires bigint NOT NULL,
    revoked boolean NOT NULL DEFAULT false
);

-- owner allows peer to find and signal it. peer need not be registered.
CREATE TABLE allowed (
    owner bytea NOT NULL,
    peer  bytea NOT NULL,
    since bigint NOT NULL,
    PRIMARY KEY (owner, peer)
);

CREATE TABLE mailboxes (
    address text PRIMARY KEY,
    owner   bytea NOT NULL,
    created bigint NOT NULL,
    expires bigint NOT NULL,
    closed  boolean NOT NULL DEFAULT false
);
CREATE INDEX mailboxes_owner ON mailboxes (owner);
CREATE INDEX mailboxes_expires ON mailboxes (expires);

CREATE TABLE tries (
    address      text NOT NULL REFERENCES mailboxes (address) ON DELETE CASCADE,
    number       integer NOT NULL,
    peer         bytea NOT NULL,
    made         bigint NOT NULL,
    opening      bytea NOT NULL,
    answer       bytea,
    confirmation bytea,
    PRIMARY KEY (address, number)
);

CREATE SEQUENCE epochs;

CREATE TABLE instances (
    name        text COLLATE "C" PRIMARY KEY,
    epoch       bigint NOT NULL UNIQUE,
    address     text NOT NULL,
    lease_until bigint NOT NULL
) WITH (fillfactor = 50);

-- A row counts while the lease with its epoch is held. A crash of the database
-- empties the table; each instance then writes its peers again.
CREATE UNLOGGED TABLE presence (
    peer  bytea PRIMARY KEY,
    epoch bigint NOT NULL,
    since bigint NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX presence_epoch ON presence (epoch);

CREATE TABLE secrets (
    name  text PRIMARY KEY,
    value bytea NOT NULL
);

-- +goose Down
DROP TABLE secrets;
DROP TABLE presence;
DROP TABLE instances;
DROP SEQUENCE epochs;
DROP TABLE tries;
DROP TABLE mailboxes;
DROP TABLE allowed;
DROP TABLE invites;
DROP TABLE challenges;
DROP TABLE peers;
