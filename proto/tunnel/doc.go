// Package tunnel is what two agents say to each other over a link.
//
// # Links come and go, the session stays
//
// Two peers have one session. It runs over links: authenticated connections,
// one at a time as a rule, two while a better one replaces a worse one. All
// that the session carries travels in frames, and every frame belongs to a
// lane:
//
//	lane 0        of the link: Hello, Ping, Pong, Ack, Goodbye. Never repeated
//	lane 1        of the session: the list of devices, attach, detach
//	lane A<<8|E   of attachment A (1 to 65535), endpoint address E: URBs.
//	              Endpoint 0 is A<<8, whatever the direction of a transfer
//
// On lanes other than 0 the frames of each direction are numbered from 1
// without gaps (Frame.Seq). The sender keeps a frame until the other end has
// acknowledged it; the receiver delivers a number once and in order:
//
//	number == next   deliver it, next++
//	number <  next   drop it: it was sent again
//	number >  next   a gap, which no honest link makes: end the link
//
// A lane is ordered; two lanes are independent, so that a disk never delays a
// keyboard. A link maps lanes to whatever keeps them apart (QUIC: a
// unidirectional stream per lane; TCP: a connection for the interactive lanes
// and one for the bulk ones).
//
// # A new link
//
//	A                                               B
//	│ Hello{incarnation a, peer b, lanes: next...} ►│   as the first frame,
//	│◄ Hello{incarnation b, peer a, lanes: next...} │   from both at once
//	│                                               │
//	│ frames from B's next on ──────────────────────►│   on every lane, again
//	│◄────────────────────── frames from A's next on │   or for the first time
//
// An incarnation is a random number that an agent draws when it begins a
// session; "peer" is the incarnation that it knows of the other end, 0 if none.
// The session goes on if each end knows the other's incarnation and is known
// by it. Otherwise one end has lost its state: both drop all attachments and
// lanes and begin anew, on this very link. Who drops its state because the
// budget ran out draws a new incarnation and knows no peer.
//
// Where several links are up, both ends send on the one with the highest
// (Hello.Rank, Hello.Generation, Hello.LinkID), which they have both seen from
// its dialer's Hello; they receive on all. A link that is no longer the
// highest is closed by either end after a grace of a few seconds.
//
// There is no other way to move a session from one path to another: loss of
// a network, a relay that gives way to a direct path, UDP that stops working
// and TCP that takes over are all a new link.
//
// # URBs
//
//	client                                          host
//	│ lane 1: Attach{attachment, device, expect} ──►│ opens and claims it
//	│◄───────── lane 1: Attached{attachment, device}│ or AttachFailed{reason}
//	│ lane A<<8|E: Submit{urb 17, ...} ────────────►│ runs it, once
//	│ lane A<<8|E: Cancel{urb 17} ─────────────────►│ perhaps too late
//	│◄───────────── lane A<<8|E: Complete{urb 17,..}│ once, whatever happened
//	│ lane 1: Detach{attachment} ──────────────────►│ resets it, gives it back
//	│◄─────────────── lane 1: Detached{attachment, reason}   also by itself: unplugged, revoked
//
// URB numbers are session-wide and never used twice. A cancelled URB completes
// like any other: with -ECONNRESET, or as it did if it was too late.
//
// Every length that comes over the wire has a bound in this package, checked
// before anything is allocated for it.
package tunnel
