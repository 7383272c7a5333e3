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

// shared is the cluster that the tests of a process share. The first call of
// Shared starts it.
var shared struct {
	once    sync.Once
	cluster *Cluster // nil if it was not started
	err     error
}

// Main runs the tests of a package that share a cluster. It stops the cluster after
// the last test, before goleak.VerifyTestMain searches for leaks.
type Main struct{ *testing.M }

// Run runs the tests and returns the exit code of the process.
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

// Shared returns the cluster that the tests of a package share. A test must not
// stop or damage it. TestMain of the package must use Main. Without an installed
// Postgres the test is skipped.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	shared.once.Do(func() { shared.cluster, shared.err = Start(context.Background()) })
	need(t, shared.err)
	return shared.cluster
}

// Own starts a cluster for one test, which may stop or damage it, with settings as
// for Start. The cluster is stopped when the test ends. Without an installed
// Postgres the test is skipped.
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

// need skips a test if no Postgres is installed, and fails it if start failed for
// another reason.
func need(t testing.TB, start error) {
	t.Helper()
	if errors.Is(start, ErrNone) {
		t.Skip(start)
	}
	if start != nil {
		t.Fatal(start)
	}
}

// Database creates an empty database for a test and returns its name.
func (c *Cluster) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("d%d", c.last.Add(1))
	if err := c.Exec(t.Context(), "postgres", "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return name
}

// Fresh creates an empty database for a test and returns its URL.
func (c *Cluster) Fresh(t testing.TB) string {
	t.Helper()
	return c.URL(c.Database(t))
}
