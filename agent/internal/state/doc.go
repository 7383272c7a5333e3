// Package state is what an agent remembers: its key, the peers that it is
// paired with, what it shares with them and what it uses of theirs.
//
// The state directory (mode 0700) holds
//
//	key         the seed of the peer's Ed25519 key, in base64 (mode 0600), made at
//	            the first run; whoever has it is this peer
//	state.json  everything else, readable, written as a whole: a crash leaves the
//	            old file or the new one
//	lock        held by the one daemon that uses the directory
//
// A file that cannot be read as what it should be is an error that names it; it
// is never replaced by an empty one.
package state
