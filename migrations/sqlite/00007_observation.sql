-- Link reports of peers, figures by the minute and relayed bytes by the day.

-- +goose Up
ALTER TABLE instances ADD COLUMN version TEXT NOT NULL DEFAULT '';

-- A report of the peer teller about its link to the other of the two peers. A row
-- counts while teller is connected under epoch since session.
CREATE TABLE paths (
    low       BLOB NOT NULL, -- lower ID of the two peers
    high      BLOB NOT NULL,
    teller    BLOB NOT NULL,
    epoch     INTEGER NOT NULL,
    session   INTEGER NOT NULL,
    kind      INTEGER NOT NULL,
    transport INTEGER NOT NULL,
    rtt       INTEGER NOT NULL, -- in milliseconds; 0 if not measured
    since     INTEGER NOT NULL,
    PRIMARY KEY (low, high, teller)
) STRICT, WITHOUT ROWID;
CREATE INDEX paths_high ON paths (high);

-- at is the beginning of the minute.
CREATE TABLE history (
    at            INTEGER NOT NULL,
    instance      TEXT NOT NULL,
    peers         INTEGER NOT NULL,
    direct        INTEGER NOT NULL, -- pairs
    relayed       INTEGER NOT NULL, -- pairs
    relay_bytes   INTEGER NOT NULL,
    relay_packets INTEGER NOT NULL,
    registrations INTEGER NOT NULL,
    refusals      INTEGER NOT NULL,
    PRIMARY KEY (at, instance)
) STRICT, WITHOUT ROWID;

-- day counts the days since 1970, in UTC.
CREATE TABLE relay_use (
    day              INTEGER NOT NULL,
    peer             BLOB NOT NULL,
    sent_bytes       INTEGER NOT NULL,
    sent_packets     INTEGER NOT NULL,
    received_bytes   INTEGER NOT NULL,
    received_packets INTEGER NOT NULL,
    PRIMARY KEY (day, peer)
) STRICT, WITHOUT ROWID;
CREATE INDEX relay_use_peer ON relay_use (peer, day);

-- +goose Down
DROP TABLE relay_use;
DROP TABLE history;
DROP TABLE paths;
ALTER TABLE instances DROP COLUMN version;
