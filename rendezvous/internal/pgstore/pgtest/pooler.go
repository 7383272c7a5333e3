//go:build unix

package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// ErrNoPooler is the error if no pgbouncer is installed.
var ErrNoPooler = errors.New("no pgbouncer is installed here: it is the Debian package pgbouncer")

// Pooler is a pgbouncer in front of a cluster, in transaction mode: each
// transaction may use another connection to the server.
type Pooler struct {
	dir    string
	cmd    *exec.Cmd
	exited chan error
}

// Pooler starts a pgbouncer. Stop stops it. Errors: ErrNoPooler.
func (c *Cluster) Pooler(ctx context.Context) (_ *Pooler, err error) {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		if program = "/usr/sbin/pgbouncer"; !exists(program) {
			return nil, ErrNoPooler
		}
	}
	dir, err := os.MkdirTemp("", "easyfind-pb-")
	if err != nil {
		return nil, fmt.Errorf("pgbouncer: %w", err)
	}
	p := &Pooler{dir: dir, exited: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = fmt.Errorf("pgbouncer: %w", errors.Join(err, p.Stop()))
		}
	}()
	config := fmt.Sprintf("[databases]\n* = host=%s user=%s\n[pgbouncer]\n"+
		"unix_socket_dir=%s\nlisten_addr=\nlisten_port=5432\nauth_type=any\npool_mode=transaction\n"+
		"default_pool_size=20\nmax_client_conn=500\nserver_round_robin=1\nlogfile=%s\n",
		c.dir, superuser, dir, filepath.Join(dir, "log"))
	name := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
		return nil, err
	}
	if c.owner != nil {
		if err := errors.Join(os.Chown(dir, int(c.owner.Uid), int(c.owner.Gid)), os.Chown(name, int(c.owner.Uid),
			int(c.owner.Gid))); err != nil {
			return nil, err
		}
	}
	p.cmd = c.command(context.WithoutCancel(ctx), program, "--quiet", name)
	p.cmd.Path, p.cmd.Dir = program, dir
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.exited <- p.cmd.Wait() }()
	return p, p.await(ctx)
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func (p *Pooler) await(ctx context.Context) error {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	over := time.NewTimer(startTime)
	defer over.Stop()
	for !exists(filepath.Join(p.dir, ".s.PGSQL.5432")) {
		select {
		case ended := <-p.exited:
			p.cmd = nil
			log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
			return fmt.Errorf("it ended: %w: %s", ended, log)
		case <-ctx.Done():
			return ctx.Err()
		case <-over.C:
			return errors.New("it does not listen in time")
		case <-again.C:
		}
	}
	return nil
}

// URL returns the URL of a database through the pooler, with the query mode that a
// pooler in transaction mode requires.
func (p *Pooler) URL(database string) string {
	q := url.Values{"host": {p.dir}, "user": {superuser}, "default_query_exec_mode": {"exec"}}
	return "postgres:///" + url.PathEscape(database) + "?" + q.Encode()
}

// Stop stops the pooler and removes its files.
func (p *Pooler) Stop() error {
	var err error
	if p.cmd != nil && p.cmd.Process != nil {
		err = p.cmd.Process.Kill()
		<-p.exited
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}
