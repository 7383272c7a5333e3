package state

import (
	"reflect"
	"slices"
)

// Part is a set of parts of the state; see [Store.Watch].
type Part uint8

// The parts of the state.
const (
	PartPeers     Part = 1 << iota // the set of paired peers, their keys and names
	PartAddresses                  // the direct addresses of the peers
	PartShares
	PartUses
)

// watcher is a receiver of changes.
type watcher struct {
	parts   Part
	changed chan struct{} // holds one
}

// Watch returns a channel that receives a value after a change of at least one
// of the parts. A slow receiver gets one value for several changes. The caller
// calls stop when it no longer needs the channel.
func (s *Store) Watch(parts Part) (changed <-chan struct{}, stop func()) {
	w := &watcher{parts: parts, changed: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers[w] = true
	return w.changed, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, w)
	}
}

// notify wakes the watchers of the parts. mu must be held.
func (s *Store) notify(parts Part) {
	for w := range s.watchers {
		if w.parts&parts == 0 {
			continue
		}
		select {
		case w.changed <- struct{}{}:
		default: // a value is waiting already
		}
	}
}

// changedParts returns the parts in which two states differ.
func changedParts(before, after State) Part {
	var parts Part
	samePeer := func(a, b Peer) bool {
		return a.ID == b.ID && a.Name == b.Name && a.PublicKey.Equal(b.PublicKey) && a.PairedAt.Equal(b.PairedAt)
	}
	if !slices.EqualFunc(before.Peers, after.Peers, samePeer) {
		parts |= PartPeers
	}
	sameAddresses := func(a, b Peer) bool { return a.ID == b.ID && slices.Equal(a.Addresses, b.Addresses) }
	if !slices.EqualFunc(before.Peers, after.Peers, sameAddresses) {
		parts |= PartAddresses
	}
	if !slices.EqualFunc(before.Shares, after.Shares, func(a, b Share) bool { return reflect.DeepEqual(a, b) }) {
		parts |= PartShares
	}
	if !slices.Equal(before.Uses, after.Uses) {
		parts |= PartUses
	}
	return parts
}
