package cluster

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// sessions are the sessions of an instance, with peers that confirm what they
// receive.
type sessions struct {
	mu          sync.Mutex
	peers       map[ident.PeerID]time.Time
	got         []string // sender and body
	moved       []ident.PeerID
	offline     func()        // called before a message for an offline peer fails; may be nil
	threshold   int           // number of messages to wait for before any is confirmed
	unconfirmed []func(error) // callbacks of these messages
}

// confirmAfter withholds confirmations until n messages have arrived.
func (s *sessions) confirmAfter(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.threshold = n
}

// onOffline sets a function that is called before a message fails because its
// recipient is offline.
func (s *sessions) onOffline(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offline = f
}

func (s *sessions) Deliver(from, to ident.PeerID, body []byte, done func(error)) {
	s.mu.Lock()
	if _, here := s.peers[to]; !here {
		offline := s.offline
		s.mu.Unlock()
		if offline != nil {
			offline()
		}
		done(signal.FailureOffline)
		return
	}
	s.got = append(s.got, from.Short()+" "+string(body))
	s.unconfirmed = append(s.unconfirmed, done)
	var confirmed []func(error)
	if len(s.unconfirmed) >= s.threshold {
		confirmed, s.unconfirmed = s.unconfirmed, nil
	}
	s.mu.Unlock()
	for _, done := range confirmed {
		done(nil)
	}
}

func (s *sessions) Peers() map[ident.PeerID]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.peers)
}

func (s *sessions) Moved(id ident.PeerID, _ time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moved = append(s.moved, id)
}

func (s *sessions) received() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func (s *sessions) movedPeers() []ident.PeerID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.moved)
}

func (s *sessions) set(id ident.PeerID, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers[id] = since
}

func (s *sessions) drop(id ident.PeerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.peers, id)
}
