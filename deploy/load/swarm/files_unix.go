//go:build unix

package swarm

import (
	"fmt"
	"syscall"
)

// spare is for files beside those of the peers.
const spare = 100

// RaiseFiles lets this process have so many connections open, and returns an
// error that says what to do where it may not. Go has raised the soft limit
// already.
func RaiseFiles(connections int) error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	want := uint64(connections + spare)
	if l.Cur >= want {
		return nil
	}
	raised := syscall.Rlimit{Cur: want, Max: max(l.Max, want)}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err != nil {
		return fmt.Errorf("this process may have %d files open, and needs %d: raise the hard limit (ulimit -Hn, LimitNOFILE=), or simulate fewer peers: %w", l.Max, want, err)
	}
	return nil
}

// MaxConnections is how many connections this process can have open, and the
// processes that it starts.
func MaxConnections() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	return int(min(l.Max, 1<<20)) - spare
}
