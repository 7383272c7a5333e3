// Package migrations holds the schema of the rendezvous' database, as SQL for each
// engine, and upgrades databases to it.
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

// Engine is a database engine with a schema.
type Engine string

// The engines. Each is the name of the directory with the engine's files.
const (
	SQLite   Engine = "sqlite"
	Postgres Engine = "postgres"
)

// Errors of a database with another version of the schema.
var (
	// ErrNewer is the error of a schema that this version of the software cannot
	// use.
	ErrNewer = errors.New("the database's schema is too new for this version of the software: " +
		"start the newer version, or restore a backup made before it")
	// ErrOlder is the error of a schema that was not upgraded yet, or of an empty
	// database.
	ErrOlder = errors.New("the database's schema is not this version's yet: start the server once")
)

// maxAhead is the number of versions that a schema may be ahead of the software. A
// migration only adds objects that the previous version can ignore (columns with a
// default, tables, indexes). So instances of the previous version keep running, and
// can start, while a cluster is upgraded.
const maxAhead = 1

// Up upgrades the schema of db to this version. It accepts a schema that is maxAhead
// versions newer unchanged. Instances that start on Postgres at the same time wait
// for each other (an advisory lock), for which db needs a second connection. Errors:
// ErrNewer; then nothing is changed.
func Up(ctx context.Context, db *sql.DB, engine Engine) error {
	has, knows, err := versions(ctx, db, engine)
	switch {
	case err != nil:
		return err
	case has > knows+maxAhead:
		return fmt.Errorf("schema: version %d, this software knows %d: %w", has, knows, ErrNewer)
	case has > knows:
		return nil
	}
	p, err := provider(db, engine)
	if err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	unlock, err := lockSchema(ctx, db, engine)
	if err != nil {
		return fmt.Errorf("schema: wait for an upgrade by another instance: %w", err)
	}
	defer unlock()
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("schema: upgrade: %w", err)
	}
	return nil
}

// UpTo creates a version of the schema in an empty database.
func UpTo(ctx context.Context, db *sql.DB, engine Engine, version int64) error {
	p, err := provider(db, engine)
	if err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	if _, err := p.UpTo(ctx, version); err != nil {
		return fmt.Errorf("schema: create version %d: %w", version, err)
	}
	return nil
}

// Check checks that the schema of db has exactly this version, for programs that use
// the database while a server runs. Errors: ErrNewer, ErrOlder.
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

// Version returns the version of the schema of db, 0 for an empty database.
func Version(ctx context.Context, db *sql.DB, engine Engine) (int64, error) {
	has, _, err := versions(ctx, db, engine)
	return has, err
}

// Latest returns the newest version of the schema that this software knows.
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

// versions returns the version of the schema of db and the newest version that this
// software knows.
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

// lockSchema waits until no other instance changes a Postgres schema, and prevents
// others from changing it until unlock is called. The lock belongs to a transaction
// and not to a connection, which a pooler (pgbouncer) shares between clients.
func lockSchema(ctx context.Context, db *sql.DB, engine Engine) (unlock func(), err error) {
	if engine == SQLite {
		return func() {}, nil // only one instance uses the file
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	unlock = func() { _ = tx.Rollback() } // the transaction has written nothing; its end releases the lock
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
