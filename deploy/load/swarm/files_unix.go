//go:build unix

package swarm

import (
	"fmt"
	"syscall"
)

// spare is the number of open files in addition to those of the peers.
const spare = 100

// RaiseFiles raises the limit of open files to the given number of connections. If that
// is not permitted, the error says what to do. Go has already raised the soft limit.
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
		return fmt.Errorf("this process may open %d files and needs %d: raise the hard limit (ulimit -Hn, "+
			"LimitNOFILE=) or simulate fewer agents: %w", l.Max, want, err)
	}
	return nil
}

// MaxConnections returns how many connections this process and its child processes can have
// open.
func MaxConnections() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	return int(min(l.Max, 1<<20)) - spare
}
