package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/easyfind-usb/easyfind/migrations"
)

// DB is the database as a program beside the server reads it.
func (s *Store) DB() *sql.DB { return s.read.DB }

// Lock keeps any server from using a data directory until it is closed. Errors:
// ErrInUse.
func Lock(dir string) (io.Closer, error) { return locked(dir) }

// locked makes a data directory and takes its lock.
func locked(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w: choose another, or let this user write there", err)
	}
	f, err := lockFile(filepath.Join(dir, lockName))
	switch {
	case errors.Is(err, ErrInUse):
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	case err != nil:
		return nil, fmt.Errorf("data directory: %w: choose another, or let this user write there", err)
	}
	return f, nil
}

// Fresh makes a database of its own in a file that does not exist yet, at a
// version of the schema.
func Fresh(ctx context.Context, file string, schema int64) (*sql.DB, error) {
	if err := makePrivate(file); err != nil {
		return nil, fmt.Errorf("database %s: %w", file, err)
	}
	db, err := open(file, 1)
	if err != nil {
		return nil, err
	}
	if err := migrations.UpTo(ctx, db, migrations.SQLite, schema); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Existing opens the database of a data directory whatever its schema, nil if
// there is none. The caller has the directory's lock.
func Existing(dir string) (*sql.DB, error) {
	file := filepath.Join(dir, FileName)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return open(file, 1)
}

// Install puts a closed database in place of the one of a data directory. The
// caller has the directory's lock.
func Install(file, dir string) error {
	to := filepath.Join(dir, FileName)
	// What the one before has left is not the new one's: SQLite would replay it.
	for _, tail := range []string{"-wal", "-shm"} {
		if err := os.Remove(to + tail); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the journal of the database before: %w", err)
		}
	}
	if err := os.Rename(file, to); err != nil {
		return fmt.Errorf("put the database in its place: %w", err)
	}
	return nil
}
