package state

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/windows"
)

// lockDir locks the file, or returns ErrLocked. The lock ends when the result is
// closed or the process ends.
func lockDir(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	const exclusive = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	if err := windows.LockFileEx(windows.Handle(f.Fd()), exclusive, 0, 1, 0, &windows.Overlapped{}); err != nil {
		if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
			err = ErrLocked
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// syncDir does nothing: the journal of NTFS makes a rename durable.
func syncDir(string) error { return nil }
