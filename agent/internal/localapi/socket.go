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

// maxSocketPath is the room for a path in sockaddr_un (unix(7)), less the
// ending zero.
const maxSocketPath = 107

// listen makes the socket, which nobody but this user may open. A socket that
// a live agent answers on is left alone; one that a dead agent left is replaced.
func listen(ctx context.Context, socket string) (net.Listener, error) {
	if len(socket)+len("/.easyfind-0123456789") > maxSocketPath {
		return nil, fmt.Errorf("socket %s: the path is too long; choose a shorter one with --socket", socket)
	}
	dir := filepath.Dir(socket)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if err := vacant(ctx, socket); err != nil {
		return nil, err
	}
	// A socket is open to others between bind and chmod. So it is made in a
	// directory of its own, and moved when it is safe.
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
		unix.SetUnlinkOnClose(false) // its name changes
	}
	if err := os.Chmod(private, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	if err := os.Rename(private, socket); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

// vacant reports whether the place of the socket may be taken.
func vacant(ctx context.Context, socket string) error {
	info, err := os.Lstat(socket)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("socket %s: something else is there; move it away or choose another place with --socket", socket)
	}
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err == nil {
		return errors.Join(fmt.Errorf("socket %s: another easyfind daemon answers there; stop it, or choose another place with --socket", socket), conn.Close())
	}
	return nil
}
