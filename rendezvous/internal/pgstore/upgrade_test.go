//go:build unix

package pgstore_test

import (
	"database/sql"
	"os"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/pressly/goose/v3"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore/pgtest"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/storetest"
)

// TestUpgradeKeepsOldRows checks that this version reads the rows of the first
// version, whether they were written before the upgrade or after it, by an old
// instance that is still running.
func TestUpgradeKeepsOldRows(t *testing.T) {
	url := pgtest.Shared(t).Fresh(t)
	if err := open(t, url).Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	p, err := goose.NewProvider(goose.DialectPostgres, db, os.DirFS("../../../migrations/postgres"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.DownTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	before := storetest.BeforeAdministration{Exec: func(statement string, args ...any) error {
		_, err := db.ExecContext(t.Context(), statement, args...)
		return err
	}}
	before.Write(t, 1)
	s := open(t, url)
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	before.Write(t, 2)
	before.Check(t, database.Postgres(s), 1, 2)
}
