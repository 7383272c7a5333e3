package session

import (
	"fmt"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// deliverControl takes a frame of lane 1. Those that a host sends are for this
// end's client side, and the other way round.
func (s *Session) deliverControl(control *group, f tunnel.Frame) error {
	switch f.Kind {
	case tunnel.KindDevices:
		return handle(tunnel.DecodeDevices, s.hearDevices)(control, f.Body)
	case tunnel.KindAttached:
		return handle(tunnel.DecodeAttached, s.hearAttached)(control, f.Body)
	case tunnel.KindAttachFailed:
		return handle(tunnel.DecodeAttachFailed, s.hearAttachFailed)(control, f.Body)
	case tunnel.KindDetached:
		return handle(tunnel.DecodeDetached, s.hearDetached)(control, f.Body)
	case tunnel.KindAttach:
		return handle(tunnel.DecodeAttach, s.hearAttach)(control, f.Body)
	case tunnel.KindDetach:
		return handle(tunnel.DecodeDetach, s.hearDetach)(control, f.Body)
	}
	return fmt.Errorf("%w: kind %d on lane 1", tunnel.ErrMalformed, f.Kind)
}

// handle decodes a message and hands it on with the lane 1 that brought it.
func handle[M any](decode func([]byte) (M, error), take func(*group, M) error) func(*group, []byte) error {
	return func(control *group, body []byte) error {
		m, err := decode(body)
		if err != nil {
			return err
		}
		return take(control, m)
	}
}

// offer is what the peer knows of this end's list.
type offer struct {
	stale bool // the list has changed since it was last sent
	sent  bool // and that one is not acknowledged, so that another one waits
}

// DevicesChanged tells the peer what Host.Devices says now.
func (s *Session) DevicesChanged() {
	s.mu.Lock()
	s.state.offer.stale = true
	s.mu.Unlock()
	s.poke()
}

// offerDevices sends the list, if it has changed and the last one has arrived.
func (s *Session) offerDevices() {
	s.mu.Lock()
	control, o := s.state.control, &s.state.offer
	if !o.stale || o.sent || s.links.active == nil || s.phase != phaseRunning {
		s.mu.Unlock()
		return
	}
	o.stale, o.sent = false, true
	s.mu.Unlock()

	var list tunnel.Devices
	if s.cfg.Host != nil {
		list.Devices = s.cfg.Host.Devices()
	}
	body := list.Encode()
	s.mu.Lock()
	s.pushControl(control, tunnel.KindDevices, body)
	s.unlock()
}

// listAcknowledged is called when frames of lane 1 have been acknowledged.
func (s *Session) listAcknowledged(control *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := control.tx[tunnel.LaneSession]
	if control.dead || t == nil {
		return
	}
	for _, f := range t.frames {
		if f.kind == tunnel.KindDevices {
			return
		}
	}
	s.state.offer.sent = false
	s.poke()
}
