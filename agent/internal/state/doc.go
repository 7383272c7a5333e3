// Package state stores what an agent remembers across restarts: its key, its
// paired peers, the devices that it shares, and the remote devices that it uses.
//
// The state directory (mode 0700) holds these files:
//
//	key         the seed of the peer's Ed25519 key, in base64 (mode 0600). The
//	            first run creates it. A program that has the key is this peer.
//	state.json  everything else, readable by people. Each change replaces the
//	            whole file: after a crash the old or the new file is there.
//	lock        locked by the one daemon that uses the directory
//
// A file with unexpected content makes [Open] fail with an error that names the
// file. The package never replaces such a file by an empty one.
package state
