// Package migrations is the schema of the rendezvous' database, as plain SQL
// for each engine, and brings a database up to it.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed sqlite/*.sql postgres/*.sql
var files embed.FS

// Engine is a database engine for which there is a schema.
type Engine string

// The engines. Each is the name of the folder with its files.
const (
	SQLite   Engine = "sqlite"
	Postgres Engine = "postgres"
)

// Errors of a database whose schema is not this version's.
var (
	// ErrNewer is that of one that newer software has brought further than this
	// one can live with.
	ErrNewer = errors.New("the database's schema is too new for this version of the software: start the newer version, or restore a backup made before it")
	// ErrOlder is that of one that was not brought up to date yet, or is empty.
	ErrOlder = errors.New("the database's schema is not this version's yet: start the server once")
)

// ahead is how many steps a schema may be ahead of the software. A migration
// only adds what the version before can leave aside (columns with a default,
// tables, indices), so that an instance goes on, and starts, beside a newer one
// while a cluster is upgraded.
const ahead = 1

// Up brings the schema of db to this version's, from any older one, and leaves
// one that is a step newer as it is. Instances that start together on Postgres
// wait for each other (an advisory lock); db must have a second connection for
// that. Errors: ErrNewer; then nothing is changed.
func Up(ctx context.Context, db *sql.DB, engine Engine) error {
	has, knows, err := versions(ctx, db, engine)
	switch {
	case err != nil:
		return err
	case has > knows+ahead:
		return fmt.Errorf("schema: version %d, this software knows %d: %w", has, knows, ErrNewer)
	case has > knows:
		return nil
	}
	p, err := provider(db, engine)
	if err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	unlock, err := lockOut(ctx, db, engine)
	if err != nil {
		return fmt.Errorf("schema: wait for another instance that brings it up to date: %w", err)
	}
	defer unlock()
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("schema: bring it up to date: %w", err)
	}
	return nil
}

// UpTo brings the schema of an empty database to a version that this software
// knows.
func UpTo(ctx context.Context, db *sql.DB, engine Engine, version int64) error {
	p, err := provider(db, engine)
	if err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	if _, err := p.UpTo(ctx, version); err != nil {
		return fmt.Errorf("schema: bring it to version %d: %w", version, err)
	}
	return nil
}

// Check reports whether the schema of db is exactly this version's, for a
// program that works beside a server. Errors: ErrNewer, ErrOlder.
func Check(ctx context.Context, db *sql.DB, engine Engine) error {
	has, knows, err := versions(ctx, db, engine)
	switch {
	case err != nil:
		return err
	case has > knows:
		return fmt.Errorf("schema: version %d, this software knows %d: %w", has, knows, ErrNewer)
	case has < knows:
		return fmt.Errorf("schema: version %d, this software wants %d: %w", has, knows, ErrOlder)
	}
	return nil
}

// Version is the version of the schema of db, 0 where there is none.
func Version(ctx context.Context, db *sql.DB, engine Engine) (int64, error) {
	has, _, err := versions(ctx, db, engine)
	return has, err
}

// Latest is the newest version of the schema that this software knows.
func Latest(engine Engine) (int64, error) {
	names, err := fs.Glob(files, string(engine)+"/*.sql")
	if err != nil || len(names) == 0 {
		return 0, fmt.Errorf("schema: no migrations for %s: %w", engine, err)
	}
	latest, err := goose.NumericComponent(names[len(names)-1])
	if err != nil {
		return 0, fmt.Errorf("schema: %w", err)
	}
	return latest, nil
}

// versions are those that db has and that this software knows. It only reads.
func versions(ctx context.Context, db *sql.DB, engine Engine) (has, knows int64, err error) {
	if knows, err = Latest(engine); err != nil {
		return 0, 0, err
	}
	there := `SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'goose_db_version')`
	if engine == Postgres {
		there = `SELECT to_regclass('goose_db_version') IS NOT NULL`
	}
	var exists bool
	if err := db.QueryRowContext(ctx, there).Scan(&exists); err != nil || !exists {
		return 0, knows, wrap("schema: read its version", err)
	}
	err = db.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version`).Scan(&has)
	return has, knows, wrap("schema: read its version", err)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// lockOut keeps other instances from changing a Postgres schema until unlock, or
// waits until they have done so. The lock belongs to a transaction and not to a
// session, which behind a pooler (pgbouncer) is no one's in particular.
func lockOut(ctx context.Context, db *sql.DB, engine Engine) (unlock func(), err error) {
	if engine == SQLite {
		return func() {}, nil // the file has one user
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	unlock = func() { _ = tx.Rollback() } // nothing was written, and the lock ends either way
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, lock.DefaultLockID); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

func provider(db *sql.DB, engine Engine) (*goose.Provider, error) {
	sub, err := fs.Sub(files, string(engine))
	if err != nil {
		return nil, err
	}
	if engine == SQLite {
		return goose.NewProvider(goose.DialectSQLite3, db, sub)
	}
	return goose.NewProvider(goose.DialectPostgres, db, sub)
}
