package backup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/migrations"
)

// Database is a database with its engine.
type Database struct {
	DB     *sql.DB
	Engine migrations.Engine
}

// Write writes a backup of the database at one moment, and of the files. The server
// may be running.
func Write(
	ctx context.Context, w io.Writer, from Database, files []File, software string, now time.Time,
) error {
	schema, err := migrations.Version(ctx, from.DB, from.Engine)
	if err != nil {
		return err
	}
	return from.reading(ctx, func(d *database) error {
		out := newWriter(w)
		h := Header{
			Format: format, Schema: schema, Engine: string(from.Engine), Software: software,
			Made: now.UTC().Truncate(time.Second),
		}
		if err := out.line(h); err != nil {
			return err
		}
		for _, f := range files {
			if len(f.Content) > maxFile {
				return fmt.Errorf("file %s: %d bytes are too many for a backup: at most %d", f.Name, len(f.Content),
					maxFile)
			}
			f.Modified = f.Modified.UTC()
			if err := out.line(f); err != nil {
				return err
			}
		}
		if err := d.dump(out); err != nil {
			return err
		}
		return out.end()
	})
}

// reading runs f in a transaction that sees the database at one moment and does
// not block writers.
func (b Database) reading(ctx context.Context, f func(*database) error) error {
	o := sql.TxOptions{ReadOnly: true}
	if b.Engine == migrations.Postgres {
		o.Isolation = sql.LevelRepeatableRead
	}
	tx, err := b.DB.BeginTx(ctx, &o)
	if err != nil {
		return fmt.Errorf("read the database: %w", err)
	}
	return errors.Join(f(&database{ctx: ctx, tx: tx, engine: b.Engine}), tx.Rollback())
}

// Read reads a backup into a new SQLite database, verifies it completely, and
// upgrades the database to the current schema. fresh creates the database with a
// version of the schema. Errors are ErrNone, ErrDamaged and ErrNewer.
func Read(
	ctx context.Context, r io.Reader, fresh func(ctx context.Context, schema int64) (*sql.DB, error),
) (_ *sql.DB, files []File, h Header, err error) {
	in, h, err := newReader(r)
	if err != nil {
		return nil, nil, h, err
	}
	knows, err := migrations.Latest(migrations.SQLite)
	if err != nil {
		return nil, nil, h, err
	}
	switch {
	case h.Schema > knows:
		return nil, nil, h, fmt.Errorf("its schema has version %d, this software knows %d: %w", h.Schema, knows,
			ErrNewer)
	case h.Schema < 1:
		return nil, nil, h, ErrDamaged
	}
	db, err := fresh(ctx, h.Schema)
	if err != nil {
		return nil, nil, h, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	err = filling(ctx, Database{db, migrations.SQLite}, func(d *database) error {
		return in.read(d, func(f File) error {
			files = append(files, f)
			return nil
		})
	})
	if err != nil {
		return nil, nil, h, err
	}
	return db, files, h, migrations.Up(ctx, db, migrations.SQLite)
}

// filling runs f in a transaction and commits it.
func filling(ctx context.Context, into Database, f func(*database) error) error {
	tx, err := into.DB.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("fill the database: %w", err)
	}
	d := &database{ctx: ctx, tx: tx, engine: into.Engine}
	err = f(d)
	if err == nil {
		err = d.flush()
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		tx.Rollback() // a failed Commit has rolled back already
		return fmt.Errorf("fill the database: %w", err)
	}
	return nil
}

// ErrInUse is returned for a database that running instances use.
var ErrInUse = errors.New("instances of the rendezvous run on this database: stop them first")

// ErrNotEmpty is returned for a database with data that would be lost.
var ErrNotEmpty = errors.New("the database is not empty: --force replaces everything in it")

// Replace replaces the content of one database by that of another, or changes
// nothing. It upgrades the database to the current schema first. It calls before as
// the last step before the commit. Errors are ErrInUse and, without force,
// ErrNotEmpty.
func Replace(ctx context.Context, from, to Database, force bool, now time.Time, before func() error) error {
	if err := migrations.Check(ctx, to.DB, to.Engine); err != nil {
		return err
	}
	return from.reading(ctx, func(source *database) error {
		return filling(ctx, to, func(d *database) error {
			if err := d.idle(now); err != nil {
				return err
			}
			if !force {
				if err := d.unused(); err != nil {
					return err
				}
			}
			if err := d.clear(); err != nil {
				return err
			}
			if err := source.dump(d); err != nil {
				return err
			}
			return before()
		})
	})
}

// Unused returns nil if a database holds nothing that would be lost, otherwise
// ErrNotEmpty.
func Unused(ctx context.Context, b Database) error {
	return b.reading(ctx, func(d *database) error { return d.unused() })
}

// idle returns ErrInUse if an instance has a lease on the database. In Postgres it
// prevents leases until the transaction ends.
func (d *database) idle(now time.Time) error {
	query, args := `SELECT count(*) FROM instances WHERE lease_until > ?`, []any{now.UnixMilli()}
	if d.engine == migrations.Postgres { // where the database's own clock decides
		if _, err := d.tx.ExecContext(d.ctx, `LOCK TABLE instances IN EXCLUSIVE MODE`); err != nil {
			return err
		}
		query = `SELECT count(*) FROM instances WHERE lease_until > extract(epoch FROM clock_timestamp()) * 1000`
		args = nil
	}
	var running int
	if err := d.tx.QueryRowContext(d.ctx, query, args...).Scan(&running); err != nil {
		return err
	}
	if running > 0 {
		return fmt.Errorf("%w (%d; a killed instance counts for five more seconds)", ErrInUse, running)
	}
	return nil
}

// worth are the tables with data of users. The first start of a server does not
// write to them.
var worth = []string{"peers", "allowed", "admin_tokens", "revocations", "approvals"}

// unused returns ErrNotEmpty if a table of worth has rows.
func (d *database) unused() error {
	for _, name := range worth {
		var rows int
		if err := d.tx.QueryRowContext(d.ctx, `SELECT count(*) FROM `+quoted(name)).Scan(&rows); err != nil {
			return fmt.Errorf("read table %s: %w", name, err)
		}
		if rows > 0 {
			return fmt.Errorf("%w (rows of %s: %d)", ErrNotEmpty, name, rows)
		}
	}
	return nil
}

// clear empties every table.
func (d *database) clear() error {
	all := slices.Clone(tables)
	for name, why := range maps.All(left) {
		if why == processes {
			all = append(all, name)
		}
	}
	if d.engine == migrations.Postgres {
		_, err := d.tx.ExecContext(d.ctx, `TRUNCATE `+strings.Join(all, ", "))
		return wrap("empty the database", err)
	}
	for _, name := range slices.Backward(all) {
		if _, err := d.tx.ExecContext(d.ctx, `DELETE FROM `+quoted(name)); err != nil {
			return fmt.Errorf("empty the database: %w", err)
		}
	}
	return nil
}
