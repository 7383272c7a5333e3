//go:build unix

package rendezvous

import (
	"os"
	"syscall"
)

// likeItsDirectory gives a file that root has made to the owner of the directory
// it is in: an operator's command must not leave behind what the server, which
// is not root, cannot read.
func likeItsDirectory(path, dir string) error {
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

// freeSpace is what a user may still write in a directory's file system.
func freeSpace(dir string) (bytes uint64, known bool) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, false
	}
	return uint64(fs.Bavail) * uint64(fs.Bsize), true
}
