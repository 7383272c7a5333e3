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
// bandwidth, the next one a quarter slower to empty the queue again.
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
// (RFC 9438) until that exceeds the model's own limit.
//
// # Competing flows
//
// If the queue has not been empty for long although this flow emptied its share, another
// flow keeps it full, usually TCP with CUBIC. A flow that backs off from a full queue
// would starve, so the window then follows CUBIC alone. Every ten seconds the flow
// slows down briefly, to see whether it fills the queue itself.
package congestion
