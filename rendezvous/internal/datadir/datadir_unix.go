//go:build unix

package datadir

import (
	"os"
	"syscall"
)

// ShareOwner gives a file that root has created to the owner of its directory. A
// command that an operator runs as root must not leave a file that the server, which
// is not root, cannot read.
func ShareOwner(path, dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t)
	return os.Chown(path, int(owner.Uid), int(owner.Gid))
}

// FreeSpace returns the number of bytes that a user can still write to the file system
// of a directory, and whether it is known.
func FreeSpace(dir string) (bytes uint64, known bool) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, false
	}
	return uint64(fs.Bavail) * uint64(fs.Bsize), true
}
