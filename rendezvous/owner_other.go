//go:build !unix

package rendezvous

// likeItsDirectory has nothing to do where files inherit their rights.
func likeItsDirectory(_, _ string) error { return nil }
