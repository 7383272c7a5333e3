//go:build unix

package sqlitestore

import (
	"errors"
	"os"
	"syscall"
)

// lockFile takes the lock of a data directory. The operating system releases it
// when the file is closed or the process dies, so that no stale lock remains.
// Errors: ErrInUse.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, errors.Join(ErrInUse, f.Close())
	case err != nil:
		return nil, errors.Join(os.NewSyscallError("flock", err), f.Close())
	}
	return f, nil
}
