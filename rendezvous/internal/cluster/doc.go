// Package cluster makes many instances of the rendezvous one.
//
// # Leases
//
// An instance is alive while its lease is, one row that it renews every second.
// A lease has an epoch that no other ever had; what an instance writes counts
// only under its epoch, so that one that was paused past its lease can change
// nothing when it wakes: it takes a new lease and writes its peers anew.
//
// A lease is timed by the database's clock, not by those of the machines. It is
// kept where a crash empties it, as the presence: whatever befalls the database,
// an instance that has lost its lease knows that it has to write its peers anew.
// Until the others have done so too, who was known to be there before is thought
// to be.
//
// Who is a member is read every second, after each renewal; 50 instances ask 50
// times a second in all. One that stops asks once more, as it may send its peers
// to one that has only just come. Postgres' NOTIFY could tell of a change sooner,
// at the price of a connection per instance that no pooler carries, and nobody
// waits for it: an instance that stops ends its links, one that hangs is noticed
// by its links' silence, and one that is new is looked up by the first message
// that goes there. So there is none.
//
// # Presence
//
// Where a peer is connected is written when it connects and when it leaves, in
// batches, never in between. The newest connection wins, and the instance that
// has the older one is told.
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
//	│ moved{peer, since} ───────────────────────────────►│ ends the older connection
//	│ ping ─────────────────────────────────────────────►│  every second
//	│◄────────────────────────────────────────────── pong│
//
// The key is a secret in the database that all instances share. Each link
// carries the messages of the one that dialed it. An end that is silent for 4 s
// is given up, and what was under way is reported as unconfirmed. While an
// instance cannot be reached, messages for its peers fail at once; it is tried
// again every second. Nothing takes the way over a third instance: two that are
// parted and both reach the database are a fault that an operator has to see.
package cluster
