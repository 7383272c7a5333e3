package localapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// maxSocketPath is the longest path in a sockaddr_un (unix(7)), in bytes, without
// the zero at its end.
const maxSocketPath = 107

// listen creates the socket. Only this user may open it. listen fails if an agent
// answers on an existing socket, and replaces a socket that a dead agent left.
func listen(ctx context.Context, socket string) (net.Listener, error) {
	if len(socket)+len("/.easyfind-0123456789") > maxSocketPath {
		return nil, fmt.Errorf("socket %s: the path is too long; choose a shorter one with --socket", socket)
	}
	dir := filepath.Dir(socket)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if err := checkFree(ctx, socket); err != nil {
		return nil, err
	}
	// Between bind and chmod, other users could open the socket. So it is created in
	// a private directory, and moved after chmod.
	private, err := os.MkdirTemp(dir, ".easyfind-")
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	ln, err := bind(ctx, filepath.Join(private, "s"), socket)
	if cleanErr := os.RemoveAll(private); err == nil && cleanErr != nil {
		err = errors.Join(cleanErr, ln.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", socket, err)
	}
	return ln, nil
}

func bind(ctx context.Context, private, socket string) (net.Listener, error) {
	var config net.ListenConfig
	ln, err := config.Listen(ctx, "unix", private)
	if err != nil {
		return nil, err
	}
	if unix, ok := ln.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false) // the socket is renamed below
	}
	if err := os.Chmod(private, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	if err := os.Rename(private, socket); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

// checkFree returns an error if a file or a running agent is at the path of the socket.
func checkFree(ctx context.Context, socket string) error {
	info, err := os.Lstat(socket)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf(
			"socket %s: another file has this name; move it away or choose another path with --socket", socket)
	}
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err == nil {
		return errors.Join(fmt.Errorf(
			"socket %s: another easyfind daemon answers there; stop it, or choose another path with --socket", socket,
		), conn.Close())
	}
	return nil
}
