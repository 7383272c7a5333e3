package rendezvous

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
	"github.com/easyfind-usb/easyfind/rendezvous/internal/backup"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/certs"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/sqlitestore"
)

// keptFiles are the files of the data directory that go into a backup: the
// certificate of the server's own making, whose pin agents have, and the links.
var keptFiles = []string{certs.KeyFile, certs.CertFile, JoinLinkFile, AdminLinkFile}

// Backup writes all that must not be lost into w: the database, and what is
// kept in the data directory. The server may be running.
func Backup(ctx context.Context, c Config, w io.Writer) error {
	s, err := c.check()
	if err != nil {
		return err
	}
	from, closed, err := s.existingDatabase(ctx)
	if err != nil {
		return err
	}
	var files []backup.File
	for _, name := range keptFiles {
		path := filepath.Join(s.Data, name)
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
	return errors.Join(backup.Write(ctx, w, from, files, Version, time.Now()), closed())
}

// existingDatabase opens the database while a server may be running.
func (s *settings) existingDatabase(ctx context.Context) (_ backup.Database, closed func() error, err error) {
	db, err := database.OpenExisting(ctx, s.location())
	if err != nil {
		return backup.Database{}, nil, err
	}
	from, closed := plain(db)
	return from, closed, nil
}

// plain returns a database without its stores, and the function that closes it.
func plain(db *database.Database) (backup.Database, func() error) {
	sql := db.SQL()
	return backup.Database{DB: sql, Engine: db.Engine}, func() error { return errors.Join(sql.Close(), db.Close()) }
}

// Restored tells of a backup that was restored.
type Restored struct {
	Made     time.Time
	Software string // that made it
	Engine   string // that it was made of
	Files    int
}

// Restore puts a backup, of whichever engine, in place of what the database and
// the data directory hold, wholly or not at all. No server may be running. It
// refuses a database that anybody has used, unless force.
func Restore(ctx context.Context, c Config, r io.Reader, force bool) (done Restored, err error) {
	s, err := c.check()
	if err != nil {
		return done, err
	}
	lock, err := sqlitestore.Lock(s.Data)
	if err != nil {
		return done, err
	}
	defer lock.Close()
	if err := likeItsDirectory(filepath.Join(s.Data, "lock"), s.Data); err != nil {
		return done, fmt.Errorf("data directory: %w", err)
	}
	scratch, err := os.MkdirTemp(s.Data, "restore-")
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
	if i := slices.IndexFunc(files, func(f backup.File) bool { return !slices.Contains(keptFiles, f.Name) }); i >= 0 {
		return done, errors.Join(backup.ErrDamaged, db.Close())
	}
	if s.DatabaseURL == "" {
		err = s.restoreFile(ctx, db, file, files, force)
	} else {
		err = errors.Join(s.restorePostgres(ctx, db, files, force), db.Close())
	}
	return Restored{Made: h.Made, Software: h.Software, Engine: h.Engine, Files: len(files)}, err
}

// restoreFile puts a database that was read in place of the data directory's.
func (s *settings) restoreFile(ctx context.Context, db *sql.DB, file string, files []backup.File, force bool) error {
	err := db.Close() // which leaves nothing in its journal
	if err == nil && !force {
		err = s.unused(ctx)
	}
	if err == nil {
		err = likeItsDirectory(file, s.Data)
	}
	if err == nil {
		err = s.putFiles(files)
	}
	if err != nil {
		return err
	}
	return sqlitestore.Install(file, s.Data)
}

// unused refuses a data directory whose database anybody has used.
func (s *settings) unused(ctx context.Context) error {
	db, err := sqlitestore.OpenAnySchema(s.Data)
	if err != nil || db == nil {
		return err
	}
	has, err := migrations.Version(ctx, db, migrations.SQLite)
	if err == nil && has > 0 {
		err = backup.Unused(ctx, backup.Database{DB: db, Engine: migrations.SQLite})
	}
	return errors.Join(err, db.Close())
}

// restorePostgres copies a database that was read into the one that instances
// share.
func (s *settings) restorePostgres(ctx context.Context, db *sql.DB, files []backup.File, force bool) error {
	shared, err := database.Open(ctx, s.location())
	if err != nil {
		return err
	}
	to, closed := plain(shared)
	err = backup.Replace(ctx, backup.Database{DB: db, Engine: migrations.SQLite}, to, force, time.Now(), func() error { return s.putFiles(files) })
	return errors.Join(err, closed())
}

// putFiles puts files into the data directory, each wholly or not at all.
func (s *settings) putFiles(files []backup.File) error {
	for _, f := range files {
		path := filepath.Join(s.Data, f.Name)
		err := writeFile(path, f.Content)
		if err == nil {
			err = os.Chtimes(path, f.Modified, f.Modified)
		}
		if err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
	}
	return nil
}
