-- Link reports of peers, figures by the minute and relayed bytes by the day.
-- All changes are additions, so that instances of the previous version keep
-- running during an upgrade.

-- +goose Up
ALTER TABLE instances ADD COLUMN version text NOT NULL DEFAULT '';

-- A report of the peer teller about its link to the other of the two peers. A row
-- counts while teller is connected under epoch since session. A crash of the
-- database empties the table; each instance then writes its rows again.
CREATE UNLOGGED TABLE paths (
    low       bytea NOT NULL, -- lower ID of the two peers
    high      bytea NOT NULL,
    teller    bytea NOT NULL,
    epoch     bigint NOT NULL,
    session   bigint NOT NULL,
    kind      integer NOT NULL,
    transport integer NOT NULL,
    rtt       integer NOT NULL, -- in milliseconds; 0 if not measured
    since     bigint NOT NULL,
    PRIMARY KEY (low, high, teller)
);
CREATE INDEX paths_high ON paths (high);

-- at is the beginning of the minute.
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

-- day counts the days since 1970, in UTC.
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
