// Package tunnel defines the messages that two agents exchange over a link.
//
// # Links come and go, the session stays
//
// Two peers have one session. It runs over links: authenticated connections, usually one, and two while a better one
// replaces a worse one. The session sends frames, and every frame belongs to a lane:
//
//	lane 0        of the link: Hello, Ping, Pong, Ack, Goodbye. Never sent again
//	lane 1        of the session: the list of devices, attach, detach
//	lane A<<8|E   of attachment A (1 to 65535), endpoint address E: URBs.
//	              Endpoint 0 is A<<8, whatever the direction of a transfer
//
// On lanes other than 0 the frames of each direction are numbered from 1 without gaps (Frame.Seq). The sender keeps a
// frame until the receiver has acknowledged it. The receiver delivers each number once and in order:
//
//	number == next   deliver it, next++
//	number <  next   drop it: it was sent again
//	number >  next   a gap, which an honest link never has: end the link
//
// A lane is ordered. Two lanes are independent, so that a disk never delays a keyboard. A link maps lanes to whatever
// keeps them apart (QUIC: a unidirectional stream per lane; TCP: a connection for the interactive lanes and one for
// the bulk lanes).
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
// An agent keeps one state per session: its lanes and attachments. An incarnation is the name of that state: a random
// number, drawn when the session begins and again whenever the agent drops the state. Each state belongs to at most
// one incarnation of the peer, "peer" in its Hello; 0 means none yet. An agent in state s, which belongs to q, receives
// Hello{i, p, lanes} and follows the first of these rules that applies:
//
//	p is neither 0 nor s   The Hello is for a state that was dropped. Wait for the
//	                       next Hello on this link.
//	q is 0 or i            The session goes on (or begins): q becomes i. Send frames
//	                       from lanes on, from 1 where p is 0.
//	otherwise              The peer has lost its state. Drop all attachments and
//	                       lanes, draw a new s, close the links that carried the old
//	                       state, send Hello again on this link and the others. q
//	                       becomes i if p is 0.
//
// So a restarted agent begins a new session on its very first link. An agent that drops its state because the budget
// has run out draws a new incarnation, which belongs to no peer. A link carries the frames of one pair of incarnations
// only. Frames on other lanes may overtake the Hello; the receiver holds them back until the Hello has arrived.
//
// Where several links are up, both agents send on the one with the highest (Hello.Rank, Hello.Generation,
// Hello.LinkID), which both know from the Hello of the agent that dialed. They receive on all links. Either agent
// closes a link that is no longer the highest after a few seconds. Agents with [FeatureChooses] may each send on
// another link, and close a link only when the peer has not used it for a few seconds. On a new link the sender starts
// each lane at the number that the receiver expects, as its Hello or a later Ack says. So the receiver never sees a gap
// within a link.
//
// On a link that loses packets, a [Copy] may follow a frame whose delay a person would notice, if the receiver has
// [FeatureCopies]. The receiver delivers whichever arrives first.
//
// Goodbye closes a link on purpose. With the reason [GoodbyeStopping] it ends the whole session: both agents drop
// their state at once.
//
// There is no other way to move a session from one path to another. Loss of a network, a relay that a direct path
// replaces, UDP that stops working so that TCP takes over: each is a new link.
//
// # URBs
//
//	client                                          host
//	│ lane 1: Attach{attachment, device, expect} ──►│ opens and claims it
//	│◄────── lane 1: AttachReply{attachment, device}│ or AttachFailure{reason}
//	│ lane A<<8|E: Submit{urb 17, ...} ────────────►│ runs it, once
//	│ lane A<<8|E: Cancel{urb 17} ─────────────────►│ perhaps too late
//	│◄───────────── lane A<<8|E: Complete{urb 17,..}│ once, whatever happened
//	│ lane 1: Detach{attachment} ──────────────────►│ resets it, gives it back
//	│◄──────────── lane 1: DetachReply{attachment, reason}   also by itself: unplugged, revoked
//
// The peer with the lower PeerID numbers its attachments odd, the other one even. Neither uses a number twice while
// the peer may still remember it. Lanes exist as long as their attachment: from Attach to DetachReply or AttachFailure.
// Frames may still arrive on the lanes of an attachment that has ended; the receiver drops them.
//
// URB numbers of a client are session-wide, rise on each lane, and are never used twice. A cancelled URB completes
// like any other: with -ECONNRESET, or as it did if the cancellation was too late. A client has at most MaxInFlight
// URBs of an attachment submitted and not completed, of at most MaxInFlightSum together. A host keeps at most
// MaxInFlightSum of results that are being produced or wait for an acknowledgement; it runs an URB only when there is
// room for its result.
//
// Every length in a message has a bound in this package. The decoders check it before they allocate memory for it.
package tunnel
