//go:build unix

package pgtest

import (
	"context"
	"errors"
	"fmt"
	"syscall"
)

// Standby starts a cluster that follows c by streaming replication. Stop ends
// it, Promote makes it a primary.
func (c *Cluster) Standby(ctx context.Context) (_ *Cluster, err error) {
	s, err := prepare(c.bin)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("throw-away standby: %w", errors.Join(err, s.Stop()))
		}
	}()
	if err := s.run(ctx, "pg_basebackup", "--pgdata", s.data(), "--host", c.dir, "--username", superuser,
		"--checkpoint", "fast", "--write-recovery-conf", "--no-sync"); err != nil {
		return nil, err
	}
	return s, s.start(ctx)
}

// Promote ends following, and waits until the cluster takes writes.
func (c *Cluster) Promote(ctx context.Context) error {
	return c.run(ctx, "pg_ctl", "promote", "--pgdata", c.data(), "--wait")
}

// Both is the address of a database that is at one of two clusters, whichever
// takes writes.
func (c *Cluster) Both(other *Cluster, database string) string {
	return c.url(c.dir+","+other.dir, superuser, database)
}

// Hang stops all of the server's processes, so that it answers nobody and
// refuses nobody, until resume.
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
