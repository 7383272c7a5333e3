//go:build unix

// Package pgtest starts a throw-away Postgres cluster from the binaries that
// are installed on the machine, for tests.
package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Cluster is a Postgres server of its own, on a unix socket in a temporary
// directory. It keeps nothing: fsync is off.
type Cluster struct {
	with  []string // settings, as "name=value", in place of what is usual here
	bin   string
	dir   string
	owner *syscall.Credential // whom the server runs as; nil for this user
	cmd   *exec.Cmd
	log   *os.File
	// alive is the server's input: closing it is a fast shutdown.
	alive io.Closer
	last  atomic.Int64 // the number of the last database

	exited chan error // what the server ended with, once
}

// ErrNone is the error where no Postgres is installed.
var ErrNone = errors.New("no Postgres is installed here: no initdb in /usr/lib/postgresql/*/bin or on the PATH")

const (
	superuser = "easyfind"
	startTime = 60 * time.Second
	stopTime  = 20 * time.Second
)

// Start starts a cluster, with settings such as "fsync=on" in place of those
// that tests want. Stop ends it. Errors: ErrNone.
func Start(ctx context.Context, settings ...string) (_ *Cluster, err error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	c, err := prepare(bin)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("throw-away Postgres: %w", errors.Join(err, c.Stop()))
		}
	}()
	if err := c.run(ctx, "initdb", "--pgdata", c.data(), "--username", superuser, "--auth", "trust", "--encoding",
		"UTF8", "--locale", "C", "--no-sync"); err != nil {
		return nil, err
	}
	c.with = settings
	return c, c.start(ctx)
}

// prepare makes the folder of a cluster.
func prepare(bin string) (*Cluster, error) {
	owner, err := ordinaryUser()
	if err != nil {
		return nil, err
	}
	// A short path: that of a unix socket is at most 107 bytes.
	dir, err := os.MkdirTemp("", "easyfind-pg-")
	if err != nil {
		return nil, fmt.Errorf("throw-away Postgres: %w", err)
	}
	c := &Cluster{bin: bin, dir: dir, owner: owner, exited: make(chan error, 1)}
	if owner != nil {
		if err := os.Chown(dir, int(owner.Uid), int(owner.Gid)); err != nil {
			return nil, errors.Join(err, c.Stop())
		}
	}
	return c, nil
}

// binaries returns the folder of the newest Postgres on the machine.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
	}
	initdb, err := exec.LookPath("initdb")
	if err != nil {
		return "", ErrNone
	}
	return filepath.Dir(initdb), nil
}

func version(initdb string) int {
	n, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb))))
	if err != nil {
		return 0
	}
	return n
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

// command prepares one of Postgres' programs: as an ordinary user, for they
// refuse root.
func (c *Cluster) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, name), args...)
	cmd.Dir = c.dir
	cmd.Env = []string{"LC_ALL=C", "PATH=" + c.bin + ":/usr/bin:/bin", "TZ=UTC"}
	if c.owner != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.owner}
	}
	return cmd
}

// ordinaryUser is whom root runs Postgres as, and nil for everyone else.
func ordinaryUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("no user for Postgres, which refuses root: there is neither a user postgres nor nobody to run it as")
}

func (c *Cluster) run(ctx context.Context, name string, args ...string) error {
	cmd := c.command(ctx, name, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

// start runs the server until it takes connections.
func (c *Cluster) start(ctx context.Context) error {
	cmd := c.command(context.WithoutCancel(ctx), "postgres", "-D", c.data(), "-k", c.dir, "-h", "",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "shared_buffers=32MB", "-c", "max_connections=200")
	for _, setting := range c.with {
		cmd.Args = append(cmd.Args, "-c", setting)
	}
	cmd.Args = append([]string{"sh", "-c", keeper, "sh", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	var err error
	if c.alive, err = cmd.StdinPipe(); err != nil {
		return err
	}
	if c.log, err = os.Create(c.dir + ".log"); err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = c.log, c.log
	if err := cmd.Start(); err != nil {
		return err
	}
	c.cmd = cmd
	go func() { c.exited <- cmd.Wait() }()
	return c.await(ctx)
}

// keeper runs the server and ends it when its input ends: also when the test
// that started it was killed.
const keeper = `exec 3<&0
"$@" </dev/null 3<&- & server=$!
(read -r _ <&3; kill -INT $server) & reader=$!
wait $server; status=$?
kill $reader 2>/dev/null
exit $status`

func (c *Cluster) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := c.run(ctx, "pg_isready", "--quiet", "--host", c.dir)
		if err == nil {
			return nil
		}
		select {
		case ended := <-c.exited:
			c.cmd = nil
			out, _ := os.ReadFile(c.log.Name())
			return fmt.Errorf("the server ended: %w: %s", ended, out)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-again.C:
		}
	}
}

// Stop ends the server and removes what it left.
func (c *Cluster) Stop() error {
	var errs []error
	if c.cmd != nil {
		errs = append(errs, c.alive.Close())
		select {
		case <-c.exited:
		case <-time.After(stopTime):
			errs = append(errs, errors.New("the server did not stop in time"), c.cmd.Process.Kill())
			<-c.exited
		}
		c.cmd = nil
	}
	if c.log != nil {
		errs = append(errs, c.log.Close(), os.Remove(c.log.Name()))
	}
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}

// Crash ends the server at once, without a shutdown. Restart brings it back.
func (c *Cluster) Crash() error {
	pid, err := c.postmaster()
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil { // "immediate shutdown"
		return err
	}
	<-c.exited
	c.cmd = nil
	return nil
}

// postmaster is the server's first process.
func (c *Cluster) postmaster() (pid int, err error) {
	written, err := os.ReadFile(filepath.Join(c.data(), "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(written), "\n")
	return strconv.Atoi(first)
}

// processes are all of the server's.
func (c *Cluster) processes() ([]int, error) {
	first, err := c.postmaster()
	if err != nil {
		return nil, err
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", first, first))
	if err != nil {
		return nil, fmt.Errorf("processes of the server: %w", err)
	}
	pids := []int{first}
	for _, f := range strings.Fields(string(children)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// Kill ends one of the server's processes with -9, as the kernel does when
// memory runs out: the server ends the others, recovers, and goes on.
func (c *Cluster) Kill() error {
	pids, err := c.processes()
	if err != nil {
		return err
	}
	return syscall.Kill(pids[len(pids)-1], syscall.SIGKILL)
}

// Restart starts the server again after a crash.
func (c *Cluster) Restart(ctx context.Context) error {
	if err := errors.Join(c.log.Close(), os.Remove(c.log.Name())); err != nil {
		return err
	}
	return c.start(ctx)
}

// URL is the address of a database of the cluster, for the superuser.
func (c *Cluster) URL(database string) string { return c.URLFor(superuser, database) }

// URLFor is the address of a database for a role.
func (c *Cluster) URLFor(role, database string) string {
	return c.url(c.dir, role, database)
}

func (c *Cluster) url(hosts, role, database string) string {
	q := url.Values{"host": {hosts}, "user": {role}}
	return "postgres:///" + url.PathEscape(database) + "?" + q.Encode()
}

// Exec runs SQL in a database as the superuser.
func (c *Cluster) Exec(ctx context.Context, database, sql string) error {
	return c.run(ctx, "psql", "--no-psqlrc", "--quiet", "--host", c.dir, "--username", superuser, "--dbname",
		database, "--set", "ON_ERROR_STOP=1", "--command", sql)
}

// Dump is a whole database as pg_dump tells it.
func (c *Cluster) Dump(ctx context.Context, database string) (string, error) {
	cmd := c.command(ctx, "pg_dump", "--host", c.dir, "--username", superuser, "--dbname", database)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("pg_dump: %w", err)
	}
	return string(out), nil
}

// Value is what a query of one value gives, as text.
func (c *Cluster) Value(ctx context.Context, database, query string) (string, error) {
	out, err := c.command(ctx, "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--host", c.dir,
		"--username", superuser, "--dbname", database, "--command", query).Output()
	if err != nil {
		return "", fmt.Errorf("psql: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
