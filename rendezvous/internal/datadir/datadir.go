// Package datadir reads and writes files in the data directory of the rendezvous.
package datadir

import "os"

// WriteFile replaces a file atomically. Only this user may read it.
func WriteFile(path string, content []byte) error {
	temporary := path + ".new"
	if err := os.WriteFile(temporary, content, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
