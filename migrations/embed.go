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

// ErrNewer is the error of a database that a newer version of the software has
// brought further than this one knows.
var ErrNewer = errors.New("the database's schema is newer than this version of the software: start the newer version, or restore a backup made before it")

// Up brings the schema of db to this version's, from any older one. Instances
// that start together on Postgres wait for each other (an advisory lock).
// Errors: ErrNewer; then nothing is changed.
func Up(ctx context.Context, db *sql.DB, engine Engine) error {
	p, err := provider(db, engine)
	if err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	has, err := p.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("schema: read its version: %w", err)
	}
	sources := p.ListSources()
	if knows := sources[len(sources)-1].Version; has > knows {
		return fmt.Errorf("schema: version %d, this software knows %d: %w", has, knows, ErrNewer)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("schema: bring it up to date: %w", err)
	}
	return nil
}

// lockTries is how often, once a second, an instance asks for the lock that
// another one holds while it brings the schema up to date.
const lockTries = 300

func provider(db *sql.DB, engine Engine) (*goose.Provider, error) {
	sub, err := fs.Sub(files, string(engine))
	if err != nil {
		return nil, err
	}
	if engine == SQLite {
		return goose.NewProvider(goose.DialectSQLite3, db, sub)
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, lockTries))
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, db, sub, goose.WithSessionLocker(locker))
}
