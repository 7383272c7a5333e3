// Package hub holds the signalling connections of one instance of the rendezvous. It finds out which peer connects,
// keeps one connection for each peer, and delivers messages from peer to peer: to peers of this instance itself, and
// to peers of other instances through the cluster.
//
// An idle connection costs one goroutine and no buffer, because a goroutine that writes exists only while something is
// queued. Each message is either confirmed by the receiving agent or reported to its sender as failed. None is dropped
// silently.
package hub
