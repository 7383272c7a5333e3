//go:build !unix

package datadir

// ShareOwner does nothing on systems where files inherit their permissions.
func ShareOwner(_, _ string) error { return nil }

// FreeSpace is not implemented on this system.
func FreeSpace(string) (bytes uint64, known bool) { return 0, false }
