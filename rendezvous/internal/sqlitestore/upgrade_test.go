package sqlitestore_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/storetest"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/sqlitestore"
)

// TestUpgradeKeepsOldRows checks that this version reads the rows of the first
// version, whether they were written before the upgrade or after it.
func TestUpgradeKeepsOldRows(t *testing.T) {
	dir := t.TempDir()
	closed(t, open(t, dir))
	db, err := sql.Open("sqlite", filepath.Join(dir, sqlitestore.FileName))
	if err != nil {
		t.Fatal(err)
	}
	defer closeDB(t, db)
	p, err := goose.NewProvider(goose.DialectSQLite3, db, os.DirFS("../../../migrations/sqlite"))
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
	s := open(t, dir)
	defer closed(t, s)
	before.Write(t, 2)
	before.Check(t, database.SQLite(s), 1, 2)
}

func closeDB(t *testing.T, db *sql.DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
