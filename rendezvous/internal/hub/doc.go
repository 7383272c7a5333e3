// Package hub holds the signalling sessions of this instance: it proves who
// connects, keeps one connection for each peer, and hands messages from peer to
// peer, here or through the cluster.
//
// An idle session costs one goroutine and no buffer: writers exist only while
// something is queued. A message is either confirmed by the receiving agent or
// reported to its sender as failed; nothing is dropped silently.
package hub
