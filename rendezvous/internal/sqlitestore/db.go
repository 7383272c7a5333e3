// Package sqlitestore keeps the data of a rendezvous in one SQLite file. It is the
// default: it needs no other service, and serves one instance.
package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/easyfind-usb/easyfind/migrations"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/batch"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// FileName is the database's name in the data directory.
const FileName = "rendezvous.db"

const lockName = "lock"

// busyTimeout is the time that a statement waits for a lock of the file. Only a
// reader, such as a backup, can hold one.
const busyTimeout = 5 * time.Second

// DB is a SQLite file. Its stores share one connection for writing and several
// for reading; their methods may be called concurrently. A commit survives the
// death of the process. A power failure may lose the last commits, but never part
// of one.
type DB struct {
	lock  *os.File
	write *sql.DB // one connection, since SQLite has one writer
	read  *reader

	admits *batch.Batch[peers.Admission, peers.AdmissionResult]
}

// ErrInUse is the error of a data directory that another process uses.
var ErrInUse = errors.New("another rendezvous uses this data directory: stop it, or choose another directory; " +
	"many instances share a Postgres database instead")

// ErrNone is the error of a data directory without a database.
var ErrNone = errors.New("there is no database in it: start the server once, or choose another with --data")

// Open opens the database in a data directory, creates both if they do not exist,
// and upgrades the schema. Errors: ErrInUse, migrations.ErrNewer.
func Open(ctx context.Context, dir string) (_ *DB, err error) {
	db := newDB()
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	if db.lock, err = lockDir(dir); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, FileName)
	const check = "database %s: %w: check that it is a file that this user may write, and no other program's"
	if err := makePrivate(file); err != nil {
		return nil, fmt.Errorf(check, file, err)
	}
	if db.write, err = openFile(file, 1); err != nil {
		return nil, err
	}
	if err := checkWritable(ctx, db.write); err != nil {
		return nil, fmt.Errorf(check, file, err)
	}
	if err := migrations.Up(ctx, db.write, migrations.SQLite); err != nil {
		return nil, fmt.Errorf("database %s: %w", file, err)
	}
	return db, db.openReader(file)
}

// OpenExisting opens the database in a data directory while a server may be
// running: it takes no lock and does not change the schema. Errors: ErrNone,
// migrations.ErrNewer, migrations.ErrOlder.
func OpenExisting(ctx context.Context, dir string) (_ *DB, err error) {
	file := filepath.Join(dir, FileName)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("data directory %s: %w", dir, ErrNone)
	} else if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	db := newDB()
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	if db.write, err = openFile(file, 1); err != nil {
		return nil, err
	}
	if err := migrations.Check(ctx, db.write, migrations.SQLite); err != nil {
		return nil, fmt.Errorf("database %s: %w", file, err)
	}
	return db, db.openReader(file)
}

func newDB() *DB {
	db := &DB{}
	db.admits = batch.New(batch.Config[peers.Admission, peers.AdmissionResult]{
		Do: db.Peers().admit, MaxCalls: maxAdmissions, MaxRuns: 1, Timeout: admitTimeout,
	})
	return db
}

// makePrivate creates a file that other users cannot read, for it holds secrets.
// SQLite creates its journal files with the same permissions.
func makePrivate(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Chmod(file, 0o600))
}

func checkWritable(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil) // BEGIN IMMEDIATE takes the write lock
	if err != nil {
		return err
	}
	return tx.Rollback()
}

func openFile(file string, conns int) (*sql.DB, error) {
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
		"journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(1)",
	}}
	source := url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: q.Encode()}
	db, err := sql.Open("sqlite", source.String())
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", file, err)
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

func (db *DB) openReader(file string) error {
	conns, err := openFile(file, max(2, runtime.NumCPU()))
	if err == nil {
		db.read = newReader(conns)
	}
	return err
}

// SQL returns the database for programs that read it without the stores: a
// backup, a diagnosis. Closing the DB closes it.
func (db *DB) SQL() *sql.DB { return db.read.DB }

// Ping returns nil if the database accepts writes.
func (db *DB) Ping(ctx context.Context) error { return failed("ping", checkWritable(ctx, db.write)) }

// Pool returns figures of the connections, both for writing and for reading.
func (db *DB) Pool() registry.Pool {
	var p registry.Pool
	for _, pool := range []*sql.DB{db.write, db.read.DB} {
		one := pool.Stats()
		p.InUse += one.InUse
		p.Idle += one.Idle
		p.Max += one.MaxOpenConnections
		p.Waits += one.WaitCount
		p.Waited += one.WaitDuration
	}
	return p
}

// Close closes the database and unlocks the data directory.
func (db *DB) Close() error {
	var errs []error
	db.admits.Close()
	if db.read != nil {
		errs = append(errs, db.read.Close())
	}
	if db.write != nil {
		errs = append(errs, db.write.Close())
	}
	if db.lock != nil {
		errs = append(errs, db.lock.Close())
	}
	return errors.Join(errs...)
}
