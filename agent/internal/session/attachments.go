package session

import (
	"maps"
	"slices"

	"github.com/easyfind-usb/easyfind/agent/internal/session/transport"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// controlCost is the cost of a frame of lane 1. The session does not use the sum.
const controlCost = 1

// attachments holds the attachments of both roles in one state of the transport, and the lists of devices. It receives
// the frames of lane 1. Session.mu guards its fields.
type attachments struct {
	session *Session         // static
	lanes   *transport.State // static

	isOver   bool // dropped; Session.current is another one
	remote   map[uint16]*remoteDevice
	exported map[uint16]*exportedAttachment
	list     *peerList
	offer    listOffer
}

func newAttachments(s *Session, lanes *transport.State) *attachments {
	return &attachments{
		session: s, lanes: lanes,
		remote: make(map[uint16]*remoteDevice), exported: make(map[uint16]*exportedAttachment),
		list: newPeerList(), offer: listOffer{stale: true},
	}
}

// remoteDevices returns the remote devices. Session.mu must be held.
func (a *attachments) remoteDevices() []*remoteDevice { return slices.Collect(maps.Values(a.remote)) }

// drop ends all attachments.
func (a *attachments) drop(reason string) {
	s := a.session
	s.mu.Lock()
	a.isOver = true
	a.list.drop()
	remote, exported := a.remoteDevices(), slices.Collect(maps.Values(a.exported))
	if len(remote)+len(exported) > 0 {
		s.resets++
	}
	s.mu.Unlock()
	for _, d := range remote {
		d.forget(&EndedError{Reason: reason}, usb.StatusShutdown)
	}
	for _, x := range exported {
		x.end(tunnel.CodeFailed, reason)
	}
	if len(remote)+len(exported) > 0 {
		s.events.add(Event{Kind: Reset, Reason: reason})
		s.log.Warn("session was reset", "reason", reason, "uses", len(remote), "shares", len(exported))
	}
}

// push sends a message on lane 1. It does nothing if the state was dropped.
func (a *attachments) push(kind tunnel.Kind, body []byte) (number uint64) {
	lane := a.lanes.Control().Lane(tunnel.LaneSession.Endpoint(), tunnel.ClassInteractive)
	number, _ = lane.Push(kind, body, controlCost)
	return number
}

// Deliver handles a frame of lane 1. A host sends to this agent's client role, and a client to its host role.
func (a *attachments) Deliver(f tunnel.Frame) error {
	switch f.Kind {
	case tunnel.KindDevices:
		return decode(f.Body, tunnel.DecodeDevices, a.handleDevices)
	case tunnel.KindAttached:
		return decode(f.Body, tunnel.DecodeAttachReply, a.handleAttachReply)
	case tunnel.KindAttachFailed:
		return decode(f.Body, tunnel.DecodeAttachFailure, a.handleAttachFailure)
	case tunnel.KindDetached:
		return decode(f.Body, tunnel.DecodeDetachReply, a.handleDetachReply)
	case tunnel.KindAttach:
		return decode(f.Body, tunnel.DecodeAttach, a.handleAttach)
	case tunnel.KindDetach:
		return decode(f.Body, tunnel.DecodeDetach, a.handleDetach)
	}
	return malformed("kind %d on lane 1", f.Kind)
}

// decode decodes a message and calls handle with it.
func decode[M any](body []byte, decode func([]byte) (M, error), handle func(M) error) error {
	m, err := decode(body)
	if err != nil {
		return err
	}
	return handle(m)
}

// Acknowledged wakes Run to send the next list of devices if the last one has arrived.
func (a *attachments) Acknowledged(_ tunnel.Lane, next uint64, _ int) {
	a.session.mu.Lock()
	arrived := a.offer.acknowledge(next)
	a.session.mu.Unlock()
	if arrived {
		a.session.events.poke()
	}
}

// Violated is not called for lane 1: the transport drops the state.
func (a *attachments) Violated(string) {}
