// Package sqlitestore keeps the registry in one SQLite file: the default, for
// one instance and no other service to run.
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
)

// FileName is the database's name in the data directory.
const FileName = "rendezvous.db"

const lockName = "lock"

var _ registry.Store = (*Store)(nil)

// Store is a registry in a SQLite file. A commit survives the death of the
// process; the last ones before a power cut may be lost, never part of one.
type Store struct {
	lock  *os.File
	write *sql.DB // one connection: SQLite has one writer
	read  *reader

	admits *batch.Batch[registry.Admission, registry.Admitted]
}

// ErrInUse is the error of a data directory that another process has open.
var ErrInUse = errors.New("another rendezvous uses this data directory: stop it, or choose another directory; many instances share a Postgres database instead")

// Open opens the store in a data directory, which it makes if need be, and
// brings its schema up to date. Errors: ErrInUse, migrations.ErrNewer.
func Open(ctx context.Context, dir string) (_ *Store, err error) {
	s := newStore()
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.lock, err = locked(dir); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, FileName)
	const check = "database %s: %w: check that it is a file that this user may write, and no other program's"
	if err := makePrivate(file); err != nil {
		return nil, fmt.Errorf(check, file, err)
	}
	if s.write, err = open(file, 1); err != nil {
		return nil, err
	}
	if err := writable(ctx, s.write); err != nil {
		return nil, fmt.Errorf(check, file, err)
	}
	if err := migrations.Up(ctx, s.write, migrations.SQLite); err != nil {
		return nil, fmt.Errorf("database %s: %w", file, err)
	}
	return s, s.openReader(file)
}

// ErrNone is the error of a data directory without a database.
var ErrNone = errors.New("there is no database in it: start the server once, or choose another with --data")

// OpenBeside opens the store in dir beside a server that may be running: it
// takes no lock and changes no schema. Errors: ErrNone, migrations.ErrNewer,
// migrations.ErrOlder.
func OpenBeside(ctx context.Context, dir string) (_ *Store, err error) {
	file := filepath.Join(dir, FileName)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("data directory %s: %w", dir, ErrNone)
	} else if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	s := newStore()
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.write, err = open(file, 1); err != nil {
		return nil, err
	}
	if err := migrations.Check(ctx, s.write, migrations.SQLite); err != nil {
		return nil, fmt.Errorf("database %s: %w", file, err)
	}
	return s, s.openReader(file)
}

func newStore() *Store {
	s := &Store{}
	s.admits = batch.New(batch.Config[registry.Admission, registry.Admitted]{Do: s.admit, Most: mostAdmitted, Runs: 1, Wait: admitWait})
	return s
}

// makePrivate creates the file closed to other users, for it holds secrets.
// SQLite gives the files beside it the same rights.
func makePrivate(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Chmod(file, 0o600))
}

func writable(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil) // BEGIN IMMEDIATE: takes the write lock
	if err != nil {
		return err
	}
	return tx.Rollback()
}

// busy is how long a statement waits for a lock. Only a reader of the same
// process, a backup say, can hold one.
const busy = 5 * time.Second

func open(file string, conns int) (*sql.DB, error) {
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds()),
		"journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(1)",
	}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", file, err)
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

func (s *Store) openReader(file string) error {
	db, err := open(file, max(2, runtime.NumCPU()))
	if err == nil {
		s.read = newReader(db)
	}
	return err
}

// Ping reports whether the database takes writes.
func (s *Store) Ping(ctx context.Context) error { return failed("ping", writable(ctx, s.write)) }

// Pool tells of the connections, the writing one and those that read.
func (s *Store) Pool() registry.Pool {
	var p registry.Pool
	for _, db := range []*sql.DB{s.write, s.read.DB} {
		one := db.Stats()
		p.InUse += one.InUse
		p.Idle += one.Idle
		p.Max += one.MaxOpenConnections
		p.Waits += one.WaitCount
		p.Waited += one.WaitDuration
	}
	return p
}

// Close closes the database and frees the data directory.
func (s *Store) Close() error {
	var errs []error
	s.admits.Close()
	if s.read != nil {
		errs = append(errs, s.read.Close())
	}
	if s.write != nil {
		errs = append(errs, s.write.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// tx runs f in a write transaction.
func (s *Store) tx(ctx context.Context, what string, f func(*transaction) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return failed(what, err)
	}
	if err := f(&transaction{tx, map[string]*sql.Stmt{}}); err != nil {
		return errors.Join(failed(what, err), rolledBack(tx))
	}
	return failed(what, tx.Commit())
}

// rolledBack ends a transaction that failed; one that the context has ended
// already is fine.
func rolledBack(tx *sql.Tx) error {
	if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
		return err
	}
	return nil
}

// failed turns an error of the database into one that wraps
// registry.ErrUnavailable, and leaves the registry's own as they are.
func failed(what string, err error) error {
	if err == nil || registry.Expected(err) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%s: %w: %w", what, registry.ErrUnavailable, err)
}

// oneRow gives missing for a statement that touched no row.
func oneRow(res sql.Result, err error, missing error) error {
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		err = missing
	}
	return err
}

func millis(t time.Time) int64 { return t.UnixMilli() }

func moment(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
