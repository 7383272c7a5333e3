package rendezvous

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/backup"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/sqlitestore"
)

// TestAgentsReconnectToRestoredServer backs up a running server and restores it
// elsewhere: from SQLite to SQLite, to Postgres, and back to SQLite. Each time two peers
// connect with their keys and tokens, see each other and exchange a message, and an
// administrator's token is valid.
func TestAgentsReconnectToRestoredServer(t *testing.T) {
	url := postgres(t)
	public := newForwarder(t)
	at := func(database string) Config {
		c := local(t)
		c.PublicURL, c.RelayIP, c.DatabaseURL = "https://"+public.address(), "127.0.0.1", database
		return c
	}
	c := at("")
	i := startBehind(t, public, c)
	a, b := newPeer(t, i.link, 1).connect(), newPeer(t, i.link, 2).connect()
	b.allow(a)
	admin := newAdmin(t, KeptAdminLink(c.Data))
	for _, next := range []string{"", url, ""} {
		var raw bytes.Buffer
		if err := Backup(t.Context(), c, &raw); err != nil {
			t.Fatal(err)
		}
		i.stop()
		c = at(next)
		if _, err := Restore(t.Context(), c, &raw, false); err != nil {
			t.Fatal(err)
		}
		again := startBehind(t, public, c)
		if again.link != i.link {
			t.Error("the join link has changed")
		}
		i = again
		a.connect()
		b.connect()
		waittest.Until(t, "a sees b", func() bool { return a.online(b) })
		signals(t, a, b, "still there")
		var all api.AdminPeers
		admin.call(http.MethodGet, api.PathAdminPeers, &all)
		if len(all.Peers) != 2 {
			t.Errorf("peers %+v", all)
		}
		third := newPeer(t, i.link, 3).key.ID() // with the invite of the join link
		admin.call(http.MethodDelete, api.AdminPeerPath(third), nil)
		admin.call(http.MethodDelete, api.RevocationPath(third), nil)
	}
}

func TestRestoreRefusesInvalidBackupsAndUsedDatabases(t *testing.T) {
	c := local(t)
	first := start(t, c)
	var raw bytes.Buffer
	if err := Backup(t.Context(), c, &raw); err != nil {
		t.Fatal(err)
	}
	restore := func(c Config, force bool) error {
		_, err := Restore(t.Context(), c, bytes.NewReader(raw.Bytes()), force)
		return err
	}
	if err := restore(c, true); !errors.Is(err, sqlitestore.ErrInUse) {
		t.Errorf("while the server runs: %v", err)
	}
	newPeer(t, first.link, 1)
	first.stop()
	before := snapshotOf(t, c.Data)
	if err := restore(c, false); !errors.Is(err, backup.ErrNotEmpty) {
		t.Errorf("a database with data: %v", err)
	}
	for name, damaged := range map[string][]byte{"cut": raw.Bytes()[:raw.Len()/2], "none": []byte("hello")} {
		if _, err := Restore(t.Context(), c, bytes.NewReader(damaged), true); err == nil {
			t.Errorf("%s: the backup was restored", name)
		}
	}
	if after := snapshotOf(t, c.Data); after != before {
		t.Errorf("the data directory has changed in spite of an error:\n%s\n%s", before, after)
	}
	if err := restore(c, true); err != nil {
		t.Errorf("with force: %v", err)
	}
	start(t, c).stop()
	fresh := local(t)
	start(t, fresh).stop() // it has no data of users
	if err := restore(fresh, false); err != nil {
		t.Errorf("a database without data: %v", err)
	}
	missing := local(t)
	if err := Backup(t.Context(), missing, &raw); !errors.Is(err, sqlitestore.ErrNone) {
		t.Errorf("backup before the first start: %v", err)
	}
}

func TestRestoreRefusesRunningCluster(t *testing.T) {
	c := local(t)
	c.DatabaseURL = postgres(t)
	i := start(t, c)
	i.log.Await(t, "this instance has its lease")
	var raw bytes.Buffer
	if err := Backup(t.Context(), c, &raw); err != nil {
		t.Fatal(err)
	}
	other := c
	other.Data = t.TempDir()
	if _, err := Restore(context.Background(), other, &raw, true); !errors.Is(err, backup.ErrInUse) {
		t.Errorf("got %v", err)
	}
}

// snapshotOf returns the names and contents of the files of a directory.
func snapshotOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		raw, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(f.Name() + "=" + string(raw) + "\n")
	}
	return all.String()
}
