package session

import (
	"context"
	"fmt"
	"slices"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// peerList holds the last list of devices of the peer. Session.mu guards its fields.
type peerList struct {
	first   chan struct{} // closed with the first list, or when the state is dropped
	devices []tunnel.Device
	hasList bool
}

func newPeerList() *peerList { return &peerList{first: make(chan struct{})} }

func (l *peerList) set(devices []tunnel.Device) {
	if !l.hasList {
		close(l.first)
	}
	l.hasList, l.devices = true, append([]tunnel.Device{}, devices...) // not nil: an empty list is a list
}

// drop ends the wait for the first list.
func (l *peerList) drop() {
	if !l.hasList {
		close(l.first)
	}
}

// Devices returns the last list of devices of the peer. It waits for a link and the first list.
func (s *Session) Devices(ctx context.Context) ([]tunnel.Device, error) {
	for {
		s.mu.Lock()
		list := s.current.list
		devices, hasList := slices.Clone(list.devices), list.hasList
		s.mu.Unlock()
		if hasList {
			return devices, nil
		}
		select {
		case <-list.first:
		case <-ctx.Done():
			return nil, fmt.Errorf("the peer's devices: %w", context.Cause(ctx))
		case <-s.over:
			return nil, ErrOver
		}
	}
}

func (a *attachments) handleDevices(m tunnel.Devices) error {
	s := a.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if !a.isOver {
		a.list.set(m.Devices)
		s.events.add(Event{Kind: Devices})
	}
	return nil
}

// listOffer records which list of devices the peer has. At most one list is on its way.
//
//	stale ──sent──► on its way ──acknowledged──► known to the peer
//	  ▲                                              │
//	  └──────────────── DevicesChanged ──────────────┘
type listOffer struct {
	stale  bool   // the list has changed since it was last sent
	number uint64 // of the frame with the list that is on its way; 0: none
}

// acknowledge handles the number that the peer expects next on lane 1. It reports whether the list has arrived.
func (o *listOffer) acknowledge(next uint64) bool {
	if o.number == 0 || o.number >= next {
		return false
	}
	o.number = 0
	return true
}

// DevicesChanged sends the peer the list that Host.Devices returns now.
func (s *Session) DevicesChanged() {
	s.mu.Lock()
	s.current.offer.stale = true
	s.mu.Unlock()
	s.events.poke()
}

// sendList sends the list if it has changed and the last one has arrived. Run calls it.
func (s *Session) sendList() {
	linked := s.Linked()
	s.mu.Lock()
	a := s.current
	due := a.offer.stale && a.offer.number == 0 && linked && !s.isOver
	if due {
		a.offer.stale = false
	}
	s.mu.Unlock()
	if !due {
		return
	}
	var list tunnel.Devices
	if s.cfg.Host != nil {
		list.Devices = s.cfg.Host.Devices()
	}
	body := list.Encode()
	s.mu.Lock()
	defer s.mu.Unlock()
	a.offer.number = a.push(tunnel.KindDevices, body)
}
