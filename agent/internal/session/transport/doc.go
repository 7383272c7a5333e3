// Package transport carries frames between two peers while links come and go: each frame arrives exactly once, and in
// order on its lane. It knows nothing about USB.
//
// A [Transport] owns the links to one peer and the current [State]. A State holds the lanes in groups: lane 1 is one
// group, the lanes of each attachment are another. The user of a group pushes frames to its lanes and implements
// [Receiver] for the frames of the peer.
//
//	            Push                              Deliver, Acknowledged
//	             │                                       ▲
//	┌────────────▼─────────────┐          ┌──────────────┴───────────┐
//	│ OutLane: frames that the │          │ inLane: the number of    │   one lock for each lane
//	│ peer has not acknowledged│          │ the next frame           │
//	└────────────┬─────────────┘          └──────────────▲───────────┘
//	   writer: one goroutine for                         │
//	   each lane on each link                            │
//	┌────────────▼───────────────────────────────────────┴───────────┐
//	│ linkRunner: one link; reads it, and writes lane 0              │
//	└────────────┬───────────────────────────────────────────────────┘
//	      events │ Hello arrived, link ended, peer broke the protocol, …
//	┌────────────▼───────────────────────────────────────────────────┐
//	│ Transport.Run: chooses the active link, drops and begins       │   one goroutine
//	│ states, watches the budget, calls the Handler                  │
//	└────────────────────────────────────────────────────────────────┘
//
// The active link is the ready one of the highest rank, unless measurements show that another one carries more; see
// choice. Where a link over UDP loses packets, a copy of each interactive frame follows it; see copies. A group and the
// transport may have limits, in bits per second, for which all but interactive frames wait.
//
// A lane that is not interactive waits for its turn before it writes a part of a frame; see turns. So interactive lanes
// come before isochronous ones, those before serial ones, and those before bulk.
//
// A frame touches only the lock of its lane and, on its way out, that of the turns. Everything else about links and
// states belongs to the goroutine of Run, which learns of events through a mailbox. Locks are taken from the top of
// this list to its end:
//
//	inLane.mu   held while a frame is delivered, so Receiver methods may push frames
//	State.mu    the set of groups and lanes
//	OutLane.mu
//	turns.mu, ackBook.mu, mailbox.mu
package transport
