// Package congestion decides how fast a QUIC link sends. It keeps a link fast where
// packets are lost at random or delayed irregularly, as on radio links, and keeps
// the queue at the bottleneck short, so that bulk data does not delay a key press.
// It knows nothing of QUIC: package quiclink feeds a [Controller] with events.
//
// # Model
//
// A Controller estimates the bandwidth of the path and its round-trip time without a
// queue, as BBR does (draft-ietf-ccwg-bbr). It paces packets at the estimated
// bandwidth and limits the bytes in flight to twice the product of both. On a LAN it
// permits a few milliseconds' worth of packets, so that one system call sends many.
//
//	startup ──bandwidth grows no more──► drain ──queue is empty──► probe
//
// In startup the rate doubles in each round trip. Drain empties the queue that startup
// has built. In probe, one round trip in eight sends a quarter faster to find more
// bandwidth, the next one a quarter slower to empty the queue again. A probe that finds
// much more is followed by another one at once.
//
// The bandwidth is the largest delivery rate in the last ten round trips. Rates are
// measured over intervals of at least four times the spread of the round-trip time:
// over shorter ones, packets that jitter has pushed together look like bandwidth.
//
// # Loss
//
// A lost packet alone is no reason to slow down. Congestion is loss above the usual
// loss rate of the path while the queue is nearly as long as it ever was, or loss of
// more than a fifth. After congestion the window is bounded by the function of CUBIC
// (RFC 9438), until that has exceeded the earlier window for a while.
//
// # Several flows
//
// The flows of a link share it evenly because a probe gains more for a small flow than for
// a large one, and because all of them slow down alike for a queue above the target. The
// queue at which they do is 10 ms, an eighth of the round trip, or half of a shallow queue.
// A flow with a longer round trip probes less often and gets less: a quarter or more at
// twice the round trip, a tenth or more at four times.
//
// A flow that began while there was a queue takes it for a part of the path. So every flow
// slows down briefly, in a dip, when the queue has not been empty for long, and otherwise
// every ten seconds. If dips do not empty the queue, another flow keeps it full, usually TCP
// with CUBIC. A flow that backs off from a full queue would starve, so the window then
// follows CUBIC alone. Every ten seconds the flow slows down to see whether the other
// flow has gone.
//
// # Processor
//
// A process that waits for a processor sends late. The pacer lets it catch up for the time that
// it was late, up to 15 ms, which costs as much of a queue at the bottleneck. Delivery rates
// measured meanwhile do not lower the estimate.
package congestion
