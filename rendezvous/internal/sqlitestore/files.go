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

// Lock prevents every server from using a data directory until the returned lock
// is closed. Errors: ErrInUse.
func Lock(dir string) (io.Closer, error) { return lockDir(dir) }

// lockDir creates a data directory and locks it.
func lockDir(dir string) (*os.File, error) {
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

// Create creates a database with a version of the schema in a file that does not
// exist yet.
func Create(ctx context.Context, file string, schema int64) (*sql.DB, error) {
	if err := makePrivate(file); err != nil {
		return nil, fmt.Errorf("database %s: %w", file, err)
	}
	db, err := openFile(file, 1)
	if err != nil {
		return nil, err
	}
	if err := migrations.UpTo(ctx, db, migrations.SQLite, schema); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// OpenAnySchema opens the database of a data directory without a check of its
// schema. It returns nil if there is no database. The directory must be locked.
func OpenAnySchema(dir string) (*sql.DB, error) {
	file := filepath.Join(dir, FileName)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return openFile(file, 1)
}

// Install replaces the database of a data directory with a closed one. The
// directory must be locked.
func Install(file, dir string) error {
	to := filepath.Join(dir, FileName)
	// SQLite would replay the journal of the old database into the new one.
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(to + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the journal of the previous database: %w", err)
		}
	}
	if err := os.Rename(file, to); err != nil {
		return fmt.Errorf("replace the database: %w", err)
	}
	return nil
}
