// Package cluster lets several instances of the rendezvous act as one.
//
// # Leases
//
// Each instance holds a lease: one row in the database, which the instance
// renews every second. The instance is a member of the cluster until its lease
// expires. Each lease has an epoch that no other lease ever had, and the
// database accepts what an instance writes only under its current epoch. An
// instance that was paused past its lease therefore changes nothing when it
// wakes up: it takes a new lease and writes all its peers again.
//
// The database's clock decides when a lease expires, not the clocks of the
// machines. The leases are kept in the same kind of table as the presence, which
// a crash of the database empties. An instance that loses its lease thereby knows
// that it must write its peers again. Until the others had time to do so too, an
// instance still counts the members that it knew before.
//
// Each instance reads the list of members every second, after it has renewed its
// lease; 50 instances cause 50 reads a second in total. An instance that stops
// reads the list once more, because it may send its peers to an instance that has
// only just started. NOTIFY of Postgres would report a change sooner. It needs a
// dedicated connection for each instance, which connection poolers do not
// provide, and nothing waits for the change: an instance that stops closes its
// links, one that hangs is detected by the silence on its links, and a new one is
// looked up when the first message for it arrives.
//
// # Presence
//
// An instance writes where a peer is connected when the peer connects and when it
// disconnects, in batches, and never in between. Of two connections of one peer
// the newer one counts, and the instance that has the older one is notified.
//
// # Links
//
// A message for a peer of another instance goes to that instance directly:
//
//	instance A                                          instance B
//	│ TLS 1.3, both ends with the cluster's key          │
//	│ hello{B's epoch, A's epoch, A's name} ────────────►│  or B hangs up
//	│ forward{id, from, to, body} ──────────────────────►│ peer confirms
//	│◄─────────────────────────────────── result{id, code}│
//	│ moved{peer, since} ───────────────────────────────►│ ends the older connection
//	│ ping ─────────────────────────────────────────────►│  every second
//	│◄────────────────────────────────────────────── pong│
//
// The key is a secret in the database that all instances share. A link carries
// the messages of the instance that dialed it. A side that receives nothing for
// 4 s closes the link, and messages without a result are reported as unconfirmed.
// While an instance cannot be reached, messages for its peers fail at once, and
// the instance is dialed again every second. No message goes through a third
// instance: two instances that reach the database but not each other are a fault
// that an operator has to see.
//
// # Parts
//
//	Cluster ─┬─ leaseKeeper ──► lease      renews the lease; holds its epoch
//	         ├─ router ───────► routes     forwards messages; holds where peers are
//	         ├─ writer ───────► changes,   writes presence and link reports
//	         │                  reports
//	         ├─ acceptor                   serves links from other instances
//	         └─ members ──────► links      holds who is a member and the links to them
//
// Each part has one lock for its own state. Only members calls another part, its
// links, while it holds its lock.
package cluster
