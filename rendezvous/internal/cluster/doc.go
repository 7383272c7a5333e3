// Package cluster makes many instances of the rendezvous one.
//
// # Leases
//
// An instance is alive while its lease is, one row that it renews every second.
// A lease has an epoch that no other ever had; what an instance writes counts
// only under its epoch, so that one that was paused past its lease can change
// nothing when it wakes: it takes a new lease and writes its peers anew.
//
// # Presence
//
// Where a peer is connected is written when it connects and when it leaves, in
// batches, never in between. The newest connection wins.
//
// # Links
//
// A message for a peer of another instance goes there directly:
//
//	instance A                                          instance B
//	│ TLS 1.3, both ends with the cluster's key          │
//	│ hello{B's epoch, A's epoch, A's name} ────────────►│  or it hangs up
//	│ forward{id, from, to, body} ──────────────────────►│ peer confirms
//	│◄─────────────────────────────────── result{id, code}│
//
// The key is a secret in the database that all instances share. Each link
// carries the messages of the one that dialed it.
package cluster
