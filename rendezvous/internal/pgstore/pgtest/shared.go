//go:build unix

package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
)

// shared is the cluster of all tests of a process, from the first that wants it.
var shared struct {
	once    sync.Once
	cluster *Cluster // nil: none was wanted, or none could be started
	err     error
}

// Main is a package's tests, of which some share a cluster: it is stopped behind
// the last test, before goleak.VerifyTestMain looks for what is left.
type Main struct{ *testing.M }

// Run runs the tests and returns the process's exit code.
func (m Main) Run() (code int) {
	code = m.M.Run()
	if shared.cluster == nil {
		return code
	}
	if err := shared.cluster.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// Shared is the cluster that the tests of a package share, who do it no harm.
// The package's TestMain runs them by Main. Where no Postgres is installed, the
// test is skipped.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	shared.once.Do(func() { shared.cluster, shared.err = Start(context.Background()) })
	need(t, shared.err)
	return shared.cluster
}

// Own starts a cluster of the test's own, to be ill-treated or with settings as
// Start takes them. It is stopped when the test ends. Where no Postgres is
// installed, the test is skipped.
func Own(t testing.TB, settings ...string) *Cluster {
	t.Helper()
	c, err := Start(t.Context(), settings...)
	need(t, err)
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// need skips a test where start failed for want of Postgres, and fails it where
// it failed otherwise.
func need(t testing.TB, start error) {
	t.Helper()
	if errors.Is(start, ErrNone) {
		t.Skip(start)
	}
	if start != nil {
		t.Fatal(start)
	}
}

// Database makes an empty database for a test and returns its name.
func (c *Cluster) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("d%d", c.last.Add(1))
	if err := c.Exec(t.Context(), "postgres", "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return name
}

// Fresh makes an empty database for a test and returns its URL.
func (c *Cluster) Fresh(t testing.TB) string {
	t.Helper()
	return c.URL(c.Database(t))
}
