// Package database opens the database of a rendezvous, Postgres or SQLite, and
// hands out its stores, one for each noun.
package database

import (
	"context"
	"database/sql"
	"time"

	"github.com/easyfind-usb/easyfind/migrations"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/blobs"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/history"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/mailboxes"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/sqlitestore"
)

// Location is the place of a database.
type Location struct {
	URL string // of a Postgres database; "" for SQLite
	Dir string // data directory of a SQLite database
}

// Database is an open database and its stores.
type Database struct {
	Peers          peers.Store
	Admissions     peers.AdmissionStore
	AllowList      peers.AllowStore
	Invites        peers.InviteStore
	Approvals      peers.ApprovalStore
	JoinRequests   peers.JoinStore
	Revocations    peers.RevocationStore
	Mailboxes      mailboxes.Store
	Administration administration.Store
	Audit          audit.Store
	Leases         presence.LeaseStore
	Presence       presence.Store
	Links          presence.LinkStore
	History        history.Store
	Blobs          blobs.Store
	Locks          blobs.LockStore
	Secrets        registry.SecretStore

	Engine migrations.Engine

	handle handle
}

// handle is the engine's connection to the database.
type handle interface {
	registry.Sweepable
	Ping(ctx context.Context) error
	Pool() registry.Pool
	SQL() *sql.DB
	Close() error
}

// Open opens a database for a server, and creates or upgrades its schema. Errors:
// see pgstore.Open and sqlitestore.Open.
func Open(ctx context.Context, l Location) (*Database, error) {
	if l.URL != "" {
		db, err := pgstore.Open(ctx, l.URL)
		return Postgres(db), err
	}
	db, err := sqlitestore.Open(ctx, l.Dir)
	return SQLite(db), err
}

// OpenExisting opens a database while servers may be running, and does not change
// its schema. Errors: see pgstore.OpenExisting and sqlitestore.OpenExisting.
func OpenExisting(ctx context.Context, l Location) (*Database, error) {
	if l.URL != "" {
		db, err := pgstore.OpenExisting(ctx, l.URL)
		return Postgres(db), err
	}
	db, err := sqlitestore.OpenExisting(ctx, l.Dir)
	return SQLite(db), err
}

// Postgres returns the stores of a Postgres database. It returns nil for nil.
func Postgres(db *pgstore.DB) *Database {
	if db == nil {
		return nil
	}
	return &Database{
		Peers: db.Peers(), Admissions: db.Peers(), AllowList: db.AllowList(), Invites: db.Invites(),
		Approvals: db.Approvals(), JoinRequests: db.JoinRequests(), Revocations: db.Revocations(),
		Mailboxes: db.Mailboxes(), Administration: db.Administration(), Audit: db.Audit(), Leases: db.Leases(),
		Presence: db.Presence(), Links: db.Links(), History: db.History(), Blobs: db.Blobs(), Locks: db.Locks(),
		Secrets: db, Engine: migrations.Postgres, handle: db,
	}
}

// SQLite returns the stores of a SQLite database. It returns nil for nil.
func SQLite(db *sqlitestore.DB) *Database {
	if db == nil {
		return nil
	}
	return &Database{
		Peers: db.Peers(), Admissions: db.Peers(), AllowList: db.AllowList(), Invites: db.Invites(),
		Approvals: db.Approvals(), JoinRequests: db.JoinRequests(), Revocations: db.Revocations(),
		Mailboxes: db.Mailboxes(), Administration: db.Administration(), Audit: db.Audit(), Leases: db.Leases(),
		Presence: db.Presence(), Links: db.Links(), History: db.History(), Blobs: db.Blobs(), Locks: db.Locks(),
		Secrets: db, Engine: migrations.SQLite, handle: db,
	}
}

// Sweep removes expired rows; see registry.Sweepable.
func (d *Database) Sweep(ctx context.Context, now time.Time) error { return d.handle.Sweep(ctx, now) }

// Ping returns nil if the database accepts writes.
func (d *Database) Ping(ctx context.Context) error { return d.handle.Ping(ctx) }

// Pool returns figures of the connection pool.
func (d *Database) Pool() registry.Pool { return d.handle.Pool() }

// SQL returns the database for a program that reads or writes it without the
// stores, such as a backup. The caller closes it before the Database.
func (d *Database) SQL() *sql.DB { return d.handle.SQL() }

// Close closes the database.
func (d *Database) Close() error { return d.handle.Close() }
