//go:build unix

package pgstore_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/migrations"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore/pgtest"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main{M: m}) }

func open(t *testing.T, url string) *pgstore.DB {
	t.Helper()
	s, err := pgstore.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *database.Database {
		return database.Postgres(open(t, pgtest.Shared(t).Fresh(t)))
	})
}

func TestInstancesStartAtTheSameTime(t *testing.T) {
	url := pgtest.Shared(t).Fresh(t)
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			s, err := pgstore.Open(t.Context(), url)
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// says checks that an error contains all of the words and not the password.
func says(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one about %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not contain %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %q contains the password", err)
	}
	t.Log(err)
}

func TestWrongURLsAreExplained(t *testing.T) {
	for name, c := range map[string]struct {
		url   string
		words []string
	}{
		"no URL": {"what is this hunter2", []string{
			"database URL",
			"postgres://host:5432/database with user:password@",
		}},
		"another scheme": {"mysql://u:hunter2@localhost/db", []string{
			"database URL",
			"postgres://host:5432/database with user:password@",
		}},
		"keywords":    {"host=localhost password=hunter2 port=x", []string{"database URL"}},
		"bad escape":  {"postgres://u:hunter2%zz@localhost/db", []string{"database URL"}},
		"bad setting": {"postgres://u:hunter2@localhost/db?pool_max_conns=many", []string{"database URL"}},
		"bad port":    {"postgres://u:hunter2@localhost:99999999/db", []string{"database URL"}},
		"nobody there": {"postgres://u:hunter2@127.0.0.1:1/db", []string{
			"127.0.0.1:1",
			"check that Postgres runs there",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pgstore.Open(t.Context(), c.url)
			says(t, err, c.words...)
		})
	}
}

func TestMissingDatabaseIsExplained(t *testing.T) {
	cluster := pgtest.Shared(t)
	_, err := pgstore.Open(t.Context(), cluster.URL("nowhere"))
	says(t, err, "nowhere", "create the database")
	_, err = pgstore.Open(t.Context(), cluster.URLFor("nobody", "postgres"))
	says(t, err, "nobody", "check the user")
}

func TestWrongPasswordIsExplained(t *testing.T) {
	cluster := pgtest.Shared(t)
	url := cluster.Fresh(t)
	if _, err := cluster.RoleWithPassword(t.Context(), "locked", "hunter3", "postgres"); err != nil {
		t.Fatal(err)
	}
	wrong := strings.Replace(url, "user=easyfind", "user=locked&password=hunter2", 1)
	// The server applies the new rule some time after the reload.
	for deadline := time.Now().Add(time.Minute); ; {
		s, err := pgstore.Open(t.Context(), wrong)
		if err == nil {
			s.Close()
		}
		if err != nil && strings.Contains(err.Error(), "authentication") || time.Now().After(deadline) {
			says(t, err, "locked", "check the user and the password")
			return
		}
	}
}

func TestRoleWithoutPrivilegesIsExplained(t *testing.T) {
	cluster := pgtest.Shared(t)
	name := cluster.Database(t)
	if err := cluster.Exec(t.Context(), name,
		"CREATE ROLE guest LOGIN; REVOKE ALL ON SCHEMA public FROM PUBLIC; "+
			"GRANT USAGE ON SCHEMA public TO guest"); err != nil {
		t.Fatal(err)
	}
	_, err := pgstore.Open(t.Context(), cluster.URLFor("guest", name))
	says(t, err, "permission denied", "GRANT CREATE")
}

func TestReadOnlyDatabaseIsRefused(t *testing.T) {
	cluster := pgtest.Shared(t)
	name := cluster.Database(t)
	s := open(t, cluster.URL(name))
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := cluster.Exec(t.Context(), name,
		"ALTER DATABASE "+name+" SET default_transaction_read_only = on"); err != nil {
		t.Fatal(err)
	}
	_, err := pgstore.Open(t.Context(), cluster.URL(name))
	says(t, err, "takes no writes", "use the primary's address")
}

func TestNewerSchemaIsRefused(t *testing.T) {
	cluster := pgtest.Shared(t)
	name := cluster.Database(t)
	if err := open(t, cluster.URL(name)).Close(); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Exec(t.Context(), name,
		"INSERT INTO goose_db_version (version_id, is_applied) VALUES (9000, true)"); err != nil {
		t.Fatal(err)
	}
	_, err := pgstore.Open(t.Context(), cluster.URL(name))
	if !errors.Is(err, migrations.ErrNewer) {
		t.Errorf("error %v, want %v", err, migrations.ErrNewer)
	}
}

// TestDatabaseSurvivesServerCrash checks that calls fail with ErrUnavailable while
// the server is down, and that the same DB works again after its restart.
func TestDatabaseSurvivesServerCrash(t *testing.T) {
	c := pgtest.Own(t)
	s := open(t, c.URL("postgres"))
	defer s.Close()
	if _, err := s.Secret(t.Context(), "name", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	if err := c.Crash(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Peers().CountPeers(t.Context()); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("error %v, want %v", err, registry.ErrUnavailable)
	}
	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Secret(t.Context(), "name", []byte("other")); err != nil || string(got) != "kept" {
		t.Errorf("after the restart: %q, %v", got, err)
	}
}
