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
// An incarnation is the name of the state that an agent holds of the session: a
// random number, drawn when the session begins and again whenever the state is
// dropped. "peer" is the one incarnation of the other end that this state
// belongs to, 0 while it belongs to none. Who receives Hello{i, p, lanes} and
// is itself s, belonging to q, does the first of these that applies:
//
//	p is neither 0 nor s   it was meant for a state that is gone: wait for the
//	                       next Hello on this link
//	q is 0 or i            the session goes on (or begins): q becomes i, frames
//	                       follow from lanes on, from 1 where p is 0
//	otherwise              the other end has lost its state: drop all
//	                       attachments and lanes, draw a new s, close the links
//	                       on which the old session went on, say Hello again
//	                       on this and the others; q becomes i if p is 0
//
// So a restarted agent begins anew on its very first link. Who drops its state
// because the budget ran out draws a new incarnation and belongs to no peer. A
// link carries the frames of one pair of incarnations only. Frames on other
// lanes may overtake the Hello; their receiver holds them back until it is there.
//
// Where several links are up, both ends send on the one with the highest
// (Hello.Rank, Hello.Generation, Hello.LinkID), which they have both seen from
// its dialer's Hello; they receive on all. A link that is no longer the
// highest is closed by either end after a grace of a few seconds. A lane is
// taken up on a link where the Hello, or a later Ack, says that the other end
// stands, so a gap within a link is never seen.
//
// Goodbye closes a link on purpose; with the reason [GoodbyeStopping] the
// whole session is over: both drop their state at once.
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
// The peer with the lower PeerID numbers its attachments odd, the other one
// even, and neither uses a number twice while the other end may remember it.
// Lanes live as long as their attachment: from Attach to Detached or
// AttachFailed. Frames on the lanes of an attachment that is no more may still
// come in; they are dropped.
//
// URB numbers of a client are session-wide, rise on each lane, and are never
// used twice. A cancelled URB completes like any other: with -ECONNRESET, or as
// it did if it was too late. A client has at most MaxInFlight URBs of an
// attachment submitted and not completed, of at most MaxInFlightSum together. A
// host runs none whose result it could not keep within MaxInFlightSum, besides
// those that wait to be acknowledged: it holds the Submit back.
//
// Every length that comes over the wire has a bound in this package, checked
// before anything is allocated for it.
package tunnel
