// Package archive backs up and restores a rendezvous: its database, the self-signed
// certificate and the links.
package archive

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/easyfind-usb/easyfind/migrations"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/accesslink"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/backup"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/certs"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/datadir"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/sqlitestore"
)

// savedFiles are the files of the data directory in a backup.
var savedFiles = []string{certs.KeyFile, certs.CertFile, accesslink.JoinFile, accesslink.AdminFile}

// Archive backs up and restores a rendezvous.
type Archive struct {
	Dir      string // data directory
	Database database.Location
	Version  string // of the software
}

// Backup writes the database and the saved files to w. The server may be running.
func (a Archive) Backup(ctx context.Context, w io.Writer) error {
	db, err := database.OpenExisting(ctx, a.Database)
	if err != nil {
		return err
	}
	from, closed := plain(db)
	var files []backup.File
	for _, name := range savedFiles {
		path := filepath.Join(a.Dir, name)
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var info fs.FileInfo
		if err == nil {
			info, err = os.Stat(path)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("data directory: %w", err), closed())
		}
		files = append(files, backup.File{Name: name, Modified: info.ModTime(), Content: content})
	}
	return errors.Join(backup.Write(ctx, w, from, files, a.Version, time.Now()), closed())
}

// plain returns a database without its stores, and the function that closes it.
func plain(db *database.Database) (backup.Database, func() error) {
	sql := db.SQL()
	return backup.Database{DB: sql, Engine: db.Engine}, func() error { return errors.Join(sql.Close(), db.Close()) }
}

// Info describes a backup that was restored.
type Info struct {
	Made     time.Time
	Software string // version that made it
	Engine   string // of the database that it was made of
	Files    int
}

// Restore replaces the content of the database and of the data directory by a backup,
// which may come from either engine. It changes everything or nothing. No server may be
// running. Without force it refuses a database with data of users.
func (a Archive) Restore(ctx context.Context, r io.Reader, force bool) (done Info, err error) {
	lock, err := sqlitestore.Lock(a.Dir)
	if err != nil {
		return done, err
	}
	defer lock.Close()
	if err := datadir.ShareOwner(filepath.Join(a.Dir, "lock"), a.Dir); err != nil {
		return done, fmt.Errorf("data directory: %w", err)
	}
	scratch, err := os.MkdirTemp(a.Dir, "restore-")
	if err != nil {
		return done, fmt.Errorf("data directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	file := filepath.Join(scratch, sqlitestore.FileName)
	db, files, h, err := backup.Read(ctx, r, func(ctx context.Context, schema int64) (*sql.DB, error) {
		return sqlitestore.Create(ctx, file, schema)
	})
	if err != nil {
		return done, err
	}
	unknown := func(f backup.File) bool { return !slices.Contains(savedFiles, f.Name) }
	if slices.ContainsFunc(files, unknown) {
		return done, errors.Join(backup.ErrDamaged, db.Close())
	}
	if a.Database.URL == "" {
		err = a.restoreFile(ctx, db, file, files, force)
	} else {
		err = errors.Join(a.restorePostgres(ctx, db, files, force), db.Close())
	}
	return Info{Made: h.Made, Software: h.Software, Engine: h.Engine, Files: len(files)}, err
}

// restoreFile replaces the SQLite database of the data directory.
func (a Archive) restoreFile(ctx context.Context, db *sql.DB, file string, files []backup.File, force bool) error {
	err := db.Close() // this empties the journal
	if err == nil && !force {
		err = a.unused(ctx)
	}
	if err == nil {
		err = datadir.ShareOwner(file, a.Dir)
	}
	if err == nil {
		err = a.putFiles(files)
	}
	if err != nil {
		return err
	}
	return sqlitestore.Install(file, a.Dir)
}

// unused returns backup.ErrNotEmpty if the SQLite database has data of users.
func (a Archive) unused(ctx context.Context) error {
	db, err := sqlitestore.OpenAnySchema(a.Dir)
	if err != nil || db == nil {
		return err
	}
	has, err := migrations.Version(ctx, db, migrations.SQLite)
	if err == nil && has > 0 {
		err = backup.Unused(ctx, backup.Database{DB: db, Engine: migrations.SQLite})
	}
	return errors.Join(err, db.Close())
}

// restorePostgres replaces the content of the Postgres database.
func (a Archive) restorePostgres(ctx context.Context, db *sql.DB, files []backup.File, force bool) error {
	shared, err := database.Open(ctx, a.Database)
	if err != nil {
		return err
	}
	to, closed := plain(shared)
	err = backup.Replace(ctx, backup.Database{DB: db, Engine: migrations.SQLite}, to, force, time.Now(),
		func() error { return a.putFiles(files) })
	return errors.Join(err, closed())
}

// putFiles writes files to the data directory, each atomically.
func (a Archive) putFiles(files []backup.File) error {
	for _, f := range files {
		path := filepath.Join(a.Dir, f.Name)
		err := datadir.WriteFile(path, f.Content)
		if err == nil {
			err = os.Chtimes(path, f.Modified, f.Modified)
		}
		if err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
	}
	return nil
}
