// Package peers runs one peer.Peer for each peer that the agent is paired with.
package peers

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/peer"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Set holds the peers that run. A [Runner] adds and removes them. The set depends on
// nothing, so that it exists before the parts of the agent that pass messages and
// links to peers.
type Set struct {
	mu    sync.Mutex // guards peers
	peers map[ident.PeerID]*peer.Peer
}

// NewSet returns an empty set.
func NewSet() *Set { return &Set{peers: map[ident.PeerID]*peer.Peer{}} }

// Get returns a peer, or nil if the peer does not run.
func (s *Set) Get(id ident.PeerID) *peer.Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peers[id]
}

func (s *Set) add(id ident.PeerID, p *peer.Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers[id] = p
}

func (s *Set) remove(id ident.PeerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.peers, id)
}

func (s *Set) all() []*peer.Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.peers))
}

// Deliver passes on a message from the rendezvous. It drops the message if the
// sender is not in the set.
func (s *Set) Deliver(from ident.PeerID, body []byte) {
	if p := s.Get(from); p != nil {
		p.Deliver(body)
	}
}

// Accept passes on a link that a peer has dialed. It closes the link if the peer is
// not in the set.
func (s *Set) Accept(l link.Link) {
	if p := s.Get(l.Info().Peer); p != nil {
		p.Accept(l)
		return
	}
	l.Close("not paired")
}

// Retry makes the next call of every peer due now; see peer.Peer.Retry.
func (s *Set) Retry() {
	for _, p := range s.all() {
		p.Retry()
	}
}

// SendDevices sends every peer its list of shared devices.
func (s *Set) SendDevices() {
	for _, p := range s.all() {
		p.Session().DevicesChanged()
	}
}

// Want returns the session with a peer, and keeps it linked until release is
// called.
func (s *Set) Want(id ident.PeerID) (_ *session.Session, release func(), _ error) {
	p := s.Get(id)
	if p == nil {
		return nil, nil, fmt.Errorf("%w: %s", state.ErrUnknownPeer, id.Short())
	}
	return p.Session(), p.Want(), nil
}

// Linked reports whether a link to the peer is up.
func (s *Set) Linked(id ident.PeerID) bool {
	p := s.Get(id)
	return p != nil && p.Session().Linked()
}

// Lost reports whether the holder of a device cannot be reached, and since when.
func (s *Set) Lost(holder ident.PeerID, device string) (since time.Time, lost bool) {
	p := s.Get(holder)
	if p == nil {
		return time.Time{}, true
	}
	linked, since, holds := p.Session().Holds(device)
	return since, holds && !linked
}

// Revoke takes a device away from the peer that holds it. The reason is for a
// person at the peer.
func (s *Set) Revoke(holder ident.PeerID, device, reason string) {
	if p := s.Get(holder); p != nil {
		p.Session().Revoke(func(d string) bool { return d == device }, reason)
	}
}
