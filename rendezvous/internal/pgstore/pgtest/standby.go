//go:build unix

package pgtest

import (
	"context"
	"errors"
	"fmt"
	"syscall"
)

// Standby starts a cluster that follows c by streaming replication. Stop stops it,
// Promote makes it a primary.
func (c *Cluster) Standby(ctx context.Context) (_ *Cluster, err error) {
	s, err := prepare(c.bin)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("temporary standby: %w", errors.Join(err, s.Stop()))
		}
	}()
	if err := s.run(ctx, "pg_basebackup", "--pgdata", s.data(), "--host", c.dir, "--username", superuser,
		"--checkpoint", "fast", "--write-recovery-conf", "--no-sync"); err != nil {
		return nil, err
	}
	return s, s.start(ctx)
}

// Promote ends the replication and waits until the cluster accepts writes.
func (c *Cluster) Promote(ctx context.Context) error {
	return c.run(ctx, "pg_ctl", "promote", "--pgdata", c.data(), "--wait")
}

// Both returns the URL of a database on two clusters. Clients use the cluster that
// accepts writes.
func (c *Cluster) Both(other *Cluster, database string) string {
	return c.url(c.dir+","+other.dir, superuser, database)
}

// Hang suspends all of the server's processes until resume is called: the server
// neither answers nor refuses anything.
func (c *Cluster) Hang() (resume func() error, err error) {
	pids, err := c.processes()
	if err != nil {
		return nil, err
	}
	signal := func(s syscall.Signal) func() error {
		return func() error {
			var errs []error
			for _, pid := range pids {
				if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
					errs = append(errs, err)
				}
			}
			return errors.Join(errs...)
		}
	}
	return signal(syscall.SIGCONT), signal(syscall.SIGSTOP)()
}
