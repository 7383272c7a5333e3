//go:build unix

// Package pgtest starts temporary Postgres servers for tests, from the binaries
// that are installed on the machine.
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

// Cluster is a Postgres server with a unix socket in a temporary directory. fsync
// is off.
type Cluster struct {
	with  []string // settings as "name=value", which override those of start
	bin   string
	dir   string
	owner *syscall.Credential // user of the server; nil for the current user
	cmd   *exec.Cmd
	log   *os.File
	// alive is the input of keeper: closing it shuts the server down.
	alive io.Closer
	last  atomic.Int64 // number of the last database

	exited chan error // receives the server's exit once
}

// ErrNone is the error if no Postgres is installed.
var ErrNone = errors.New("no Postgres is installed here: no initdb in /usr/lib/postgresql/*/bin or on the PATH")

const (
	superuser = "easyfind"
	startTime = 60 * time.Second
	stopTime  = 20 * time.Second
)

// Start starts a cluster. Settings such as "fsync=on" override the defaults of
// this package. Stop stops it. Errors: ErrNone.
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
			err = fmt.Errorf("temporary Postgres: %w", errors.Join(err, c.Stop()))
		}
	}()
	if err := c.run(ctx, "initdb", "--pgdata", c.data(), "--username", superuser, "--auth", "trust", "--encoding",
		"UTF8", "--locale", "C", "--no-sync"); err != nil {
		return nil, err
	}
	c.with = settings
	return c, c.start(ctx)
}

// prepare creates the directory of a cluster.
func prepare(bin string) (*Cluster, error) {
	owner, err := ordinaryUser()
	if err != nil {
		return nil, err
	}
	// The path is short, since that of a unix socket has at most 107 bytes.
	dir, err := os.MkdirTemp("", "easyfind-pg-")
	if err != nil {
		return nil, fmt.Errorf("temporary Postgres: %w", err)
	}
	c := &Cluster{bin: bin, dir: dir, owner: owner, exited: make(chan error, 1)}
	if owner != nil {
		if err := os.Chown(dir, int(owner.Uid), int(owner.Gid)); err != nil {
			return nil, errors.Join(err, c.Stop())
		}
	}
	return c, nil
}

// binaries returns the directory of the newest Postgres on the machine. Errors:
// ErrNone.
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

// command returns a command that runs a program of Postgres as an ordinary user:
// the programs refuse to run as root.
func (c *Cluster) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, name), args...)
	cmd.Dir = c.dir
	cmd.Env = []string{"LC_ALL=C", "PATH=" + c.bin + ":/usr/bin:/bin", "TZ=UTC"}
	if c.owner != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.owner}
	}
	return cmd
}

// ordinaryUser returns the user as which root runs Postgres, and nil if the
// current user is not root.
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
	return nil, errors.New("refuse to run Postgres as root: add a user postgres or nobody")
}

func (c *Cluster) run(ctx context.Context, name string, args ...string) error {
	cmd := c.command(ctx, name, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

// start starts the server and waits until it accepts connections.
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

// keeper is a script that runs the server and stops it when the script's input
// ends, which also happens if the test process is killed.
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

// Stop stops the server and removes its files.
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

// Crash stops the server immediately, without a checkpoint. Restart starts it
// again.
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

// postmaster returns the ID of the server's first process.
func (c *Cluster) postmaster() (pid int, err error) {
	written, err := os.ReadFile(filepath.Join(c.data(), "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(written), "\n")
	return strconv.Atoi(first)
}

// processes returns the IDs of the server's processes.
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

// Kill kills one of the server's processes with SIGKILL, as the kernel does when
// memory runs out. The server then ends the others, recovers and continues.
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

// URL returns the URL of a database of the cluster for the superuser.
func (c *Cluster) URL(database string) string { return c.URLFor(superuser, database) }

// URLFor returns the URL of a database for a role.
func (c *Cluster) URLFor(role, database string) string {
	return c.url(c.dir, role, database)
}

func (c *Cluster) url(hosts, role, database string) string {
	q := url.Values{"host": {hosts}, "user": {role}}
	return "postgres:///" + url.PathEscape(database) + "?" + q.Encode()
}

// Exec executes SQL in a database as the superuser.
func (c *Cluster) Exec(ctx context.Context, database, sql string) error {
	return c.run(ctx, "psql", "--no-psqlrc", "--quiet", "--host", c.dir, "--username", superuser, "--dbname",
		database, "--set", "ON_ERROR_STOP=1", "--command", sql)
}

// Dump returns the output of pg_dump for a database.
func (c *Cluster) Dump(ctx context.Context, database string) (string, error) {
	cmd := c.command(ctx, "pg_dump", "--host", c.dir, "--username", superuser, "--dbname", database)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("pg_dump: %w", err)
	}
	return string(out), nil
}

// Value returns the result of a query for one value, as text.
func (c *Cluster) Value(ctx context.Context, database, query string) (string, error) {
	out, err := c.command(ctx, "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--host", c.dir,
		"--username", superuser, "--dbname", database, "--command", query).Output()
	if err != nil {
		return "", fmt.Errorf("psql: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
