-- What links are like, figures by the minute and relayed bytes by the day.
-- Everything is added, so that instances of the version before go
-- on beside.

-- +goose Up
ALTER TABLE instances ADD COLUMN version text NOT NULL DEFAULT '';

-- What the peer teller says of its link to the other of the two. A row counts
-- while the teller's presence has its epoch and began at session. After a crash of
-- the database the table is empty: each instance writes it again.
CREATE UNLOGGED TABLE paths (
    low       bytea NOT NULL, -- the lower ID of the two
    high      bytea NOT NULL,
    teller    bytea NOT NULL,
    epoch     bigint NOT NULL,
    session   bigint NOT NULL,
    kind      integer NOT NULL,
    transport integer NOT NULL,
    rtt       integer NOT NULL, -- milliseconds, 0 if not measured
    since     bigint NOT NULL,
    PRIMARY KEY (low, high, teller)
);
CREATE INDEX paths_high ON paths (high);

-- at is the minute's beginning.
CREATE TABLE history (
    at            bigint NOT NULL,
    instance      text COLLATE "C" NOT NULL,
    peers         integer NOT NULL,
    direct        integer NOT NULL, -- pairs
    relayed       integer NOT NULL, -- pairs
    relay_bytes   bigint NOT NULL,
    relay_packets bigint NOT NULL,
    registrations bigint NOT NULL,
    refusals      bigint NOT NULL,
    PRIMARY KEY (at, instance)
);

-- day is counted from 1970, in UTC.
CREATE TABLE relay_use (
    day              bigint NOT NULL,
    peer             bytea NOT NULL,
    sent_bytes       bigint NOT NULL,
    sent_packets     bigint NOT NULL,
    received_bytes   bigint NOT NULL,
    received_packets bigint NOT NULL,
    PRIMARY KEY (day, peer)
);
CREATE INDEX relay_use_peer ON relay_use (peer, day);

-- +goose Down
DROP TABLE relay_use;
DROP TABLE history;
DROP TABLE paths;
ALTER TABLE instances DROP COLUMN version;
