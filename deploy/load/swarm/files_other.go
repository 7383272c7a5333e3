//go:build !unix

package swarm

// RaiseFiles does nothing: this system has no such limit.
func RaiseFiles(int) error { return nil }
