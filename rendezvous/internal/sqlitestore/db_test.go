package sqlitestore_test

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/migrations"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/storetest"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/sqlitestore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string) *sqlitestore.DB {
	t.Helper()
	s, err := sqlitestore.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *database.Database {
		return database.SQLite(open(t, filepath.Join(t.TempDir(), "a dir?#%41", "data")))
	})
}

func TestRowsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.Secret(t.Context(), "name", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer closed(t, s)
	if got, err := s.Secret(t.Context(), "name", []byte("other")); err != nil || string(got) != "kept" {
		t.Errorf("got %q, %v", got, err)
	}
}

func closed(t *testing.T, s *sqlitestore.DB) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	defer closed(t, open(t, dir))
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %v: other users may read it", f.Name(), info.Mode())
		}
	}
}

func TestDataDirectoryInUseIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := sqlitestore.Open(t.Context(), dir); !errors.Is(err, sqlitestore.ErrInUse) {
		t.Errorf("error %v, want %v", err, sqlitestore.ErrInUse)
	}
	closed(t, s)
	closed(t, open(t, dir)) // the refused call has released everything
}

func TestNewerSchemaIsRefused(t *testing.T) {
	dir := t.TempDir()
	closed(t, open(t, dir))
	db, err := sql.Open("sqlite", filepath.Join(dir, sqlitestore.FileName))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9000, 1)`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlitestore.Open(t.Context(), dir); !errors.Is(err, migrations.ErrNewer) {
		t.Errorf("error %v, want %v", err, migrations.ErrNewer)
	}
}

func TestUnusableFilesAreExplained(t *testing.T) {
	for name, prepare := range map[string]func(dir string) error{
		"a directory in its place": func(dir string) error {
			return os.Mkdir(filepath.Join(dir, sqlitestore.FileName),
				0o700)
		},
		"another kind of file": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, sqlitestore.FileName), []byte(strings.Repeat("no database ",
				1000)), 0o600)
		},
		"not writable": func(dir string) error {
			if os.Geteuid() == 0 {
				return errRoot
			}
			return os.WriteFile(filepath.Join(dir, sqlitestore.FileName), nil, 0o400)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := prepare(dir); errors.Is(err, errRoot) {
				t.Skip(err)
			} else if err != nil {
				t.Fatal(err)
			}
			_, err := sqlitestore.Open(t.Context(), dir)
			if err == nil || !strings.Contains(err.Error(), "may write") || !strings.Contains(err.Error(), dir) {
				t.Errorf("error %v does not say what to do", err)
			}
		})
	}
}

var errRoot = errors.New("root may write everywhere: run as another user to see this")

func TestFileInPlaceOfDataDirectoryIsExplained(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlitestore.Open(t.Context(), file); err == nil || !strings.Contains(err.Error(), "choose another") {
		t.Errorf("error %v does not say what to do", err)
	}
}

func TestClosedDatabaseIsUnavailable(t *testing.T) {
	s := open(t, t.TempDir())
	closed(t, s)
	if _, err := s.Peers().CountPeers(t.Context()); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("error %v, want %v", err, registry.ErrUnavailable)
	}
}
