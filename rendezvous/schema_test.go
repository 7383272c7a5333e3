package rendezvous

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/pressly/goose/v3"

	"github.com/easyfind-usb/easyfind/migrations"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/sqlitestore"
)

// next is a migration of the next version. It only adds columns and tables.
const next = `-- +goose Up
ALTER TABLE peers ADD COLUMN colour %[1]s NOT NULL DEFAULT 'none';
ALTER TABLE instances ADD COLUMN colour %[1]s NOT NULL DEFAULT 'none';
CREATE TABLE colours (name %[1]s PRIMARY KEY);
CREATE INDEX peers_colour ON peers (colour);
`

// upgrade migrates a database n steps further than this version of the software knows,
// as later versions do.
func upgrade(t *testing.T, c Config, n int) {
	t.Helper()
	driver, source, dialect, engine := "sqlite", filepath.Join(c.Data, sqlitestore.FileName), goose.DialectSQLite3,
		migrations.SQLite
	if c.DatabaseURL != "" {
		driver, source, dialect, engine = "pgx", c.DatabaseURL, goose.DialectPostgres, migrations.Postgres
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	latest, err := migrations.Latest(engine)
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{fmt.Sprintf("%05d_next.sql", latest+1): {Data: fmt.Appendf(nil, next, "text")}}
	for i := 2; i <= n; i++ {
		files[fmt.Sprintf("%05d_later.sql", latest+int64(i))] = &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE " +
			"TABLE later (a int);\n")}
	}
	p, err := goose.NewProvider(dialect, db, files)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestSchemaOneStepAhead: an instance keeps running, and starts, with a schema that is one
// step newer. A backup refuses it. With two steps everything refuses.
func TestSchemaOneStepAhead(t *testing.T) {
	for name, c := range map[string]Config{"SQLite": local(t), "Postgres": local(t)} {
		t.Run(name, func(t *testing.T) {
			if name == "Postgres" {
				c.DatabaseURL, c.ClusterListen = postgres(t), "127.0.0.1:0"
			}
			i := start(t, c)
			a, b := newPeer(t, i.link, 1).connect(), newPeer(t, i.link, 2).connect()
			b.allow(a)
			if name == "SQLite" {
				i.stop() // only one process may use the file
			}
			upgrade(t, c, 1)
			works := func(i *instance, a, b *peer) {
				t.Helper()
				a.allow(b)
				signals(t, a, b, "across the upgrade")
				newPeer(t, i.link, 3)
				newAdmin(t, KeptAdminLink(c.Data))
			}
			if name == "Postgres" {
				works(i, a, b)
				i.stop()
			}
			again := start(t, c)
			a, b = newPeer(t, again.link, 1).connect(), newPeer(t, again.link, 2).connect()
			a.allow(b)
			signals(t, a, b, "after a restart")
			if err := Backup(t.Context(), c, &bytes.Buffer{}); !errors.Is(err, migrations.ErrNewer) {
				t.Errorf("a backup of a newer schema: %v", err)
			}
			again.stop()
			upgrade(t, c, 2)
			s, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Run(t.Context()); !errors.Is(err, migrations.ErrNewer) ||
				!strings.Contains(err.Error(), "start the newer version") {
				t.Errorf("two steps ahead: %v", err)
			}
		})
	}
}
