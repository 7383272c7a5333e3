package session

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// hosted is an attachment of the peer to a device of this end. Its goroutine
// opens the device, waits for the end, and gives the device back:
//
//	opening ──► open ──► ending ──► done
//	   └───────────────────▲
type hosted struct {
	// Static after construction.
	s       *Session
	want    tunnel.Attach
	group   *group        // its lanes
	control *group        // lane 1 of the state it belongs to
	cancel  func()        // ends the opening
	ending  chan struct{} // closed by end
	done    chan struct{} // closed once the device was given back, or was not opened

	order sync.Mutex // held while URBs are handed to the device, so that they keep their order

	mu sync.Mutex
	// Guarded by mu.
	dev     usb.Device // nil until it is open
	name    string
	since   time.Time
	types   map[usb.Endpoint]transferTypes
	urbs    urbTable
	isOver  bool
	code    tunnel.Code
	reason  string
	traffic traffic
}

// hearAttach begins an attachment.
func (s *Session) hearAttach(control *group, m tunnel.Attach) error {
	s.mu.Lock()
	defer s.unlock()
	if control.dead {
		return nil
	}
	theirs := numbering(s.cfg.Remote.Compare(s.cfg.Local) < 0)
	if m.Attachment&1 != theirs || s.state.groups[m.Attachment] != nil || s.state.hosted[m.Attachment] != nil {
		return malformed("attachment %d, a number that is not the peer's to take", m.Attachment)
	}
	refuse := func(code tunnel.Code, message string) {
		s.pushControl(control, tunnel.KindAttachFailed, tunnel.AttachFailed{Attachment: m.Attachment, Code: code, Message: message}.Encode())
	}
	if s.cfg.Host == nil {
		refuse(tunnel.CodeDenied, ErrDenied.Error())
		return nil
	}
	if len(s.holders) >= tunnel.MaxAttachments {
		refuse(tunnel.CodeLimit, fmt.Sprintf("this peer has %d devices attached; it has to release one first", len(s.holders)))
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	h := &hosted{
		s: s, want: m, group: newGroup(m.Attachment), control: control, cancel: cancel,
		ending: make(chan struct{}), done: make(chan struct{}),
		urbs: urbTable{live: make(map[uint64]*hostURB), last: make(map[tunnel.Lane]uint64)},
	}
	h.group.deliver = h.deliver
	h.group.released = h.released
	h.group.violated = func(reason string) { h.end(tunnel.CodeProtocol, reason) }
	var before []*hosted
	for o := range s.holders {
		if o.want.Device == m.Device && o.isEnding() {
			before = append(before, o)
		}
	}
	if !s.spawn(func() { h.serve(ctx, before) }) {
		cancel()
		return nil
	}
	s.state.groups[m.Attachment] = h.group
	s.state.hosted[m.Attachment] = h
	s.holders[h] = struct{}{}
	return nil
}

// hearDetach ends an attachment. One that is not there has ended by itself.
func (s *Session) hearDetach(control *group, m tunnel.Detach) error {
	s.mu.Lock()
	defer s.unlock()
	if h := s.state.hosted[m.Attachment]; h != nil && !control.dead {
		s.after = append(s.after, func() { h.end(tunnel.CodeDetached, "as asked for") })
	}
	return nil
}

// serve opens the device and gives it back in the end, after those attachments
// that have yet to give it back themselves.
func (h *hosted) serve(ctx context.Context, before []*hosted) {
	defer h.cancel()
	for _, o := range before {
		<-o.done
	}
	dev, err := h.s.cfg.Host.Open(ctx, h.want)
	if err != nil {
		h.end(codeOf(err), err.Error())
		h.conclude(tunnel.KindAttachFailed)
		return
	}
	if n := len(dev.Info().Descriptors); n > tunnel.MaxDescriptors {
		h.end(tunnel.CodeFailed, fmt.Sprintf("its descriptors are %d bytes long, at most %d can be shared", n, tunnel.MaxDescriptors))
	}
	if h.opened(dev) {
		select {
		case <-h.ending:
		case <-dev.Gone():
			h.end(tunnel.CodeUnplugged, "the device was unplugged from its host")
		}
	}
	if err := dev.Close(); err != nil {
		h.s.log.Warn("giving a device back failed", "device", h.want.Device, "error", err)
	}
	h.conclude(tunnel.KindDetached)
}

// opened tells the peer that it has the device, unless it is over already.
func (h *hosted) opened(dev usb.Device) bool {
	info := dev.Info()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.isOver {
		return false
	}
	h.dev, h.name, h.since = dev, info.Name(), time.Now()
	h.types = endpointTypes(info.Descriptors)
	s := h.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := range h.types {
		h.group.endpoints[uint8(e)] = struct{}{}
	}
	attached := tunnel.Attached{Attachment: h.want.Attachment, Device: Describe(info)}
	s.pushFrame(h.control, tunnel.LaneSession, tunnel.KindAttached, attached.Encode(), frameCost)
	s.emit(Event{Kind: Attachments})
	return true
}

// end ends the attachment, for a reason that the peer is told. It does not wait.
func (h *hosted) end(code tunnel.Code, reason string) {
	h.mu.Lock()
	if h.isOver {
		h.mu.Unlock()
		return
	}
	h.isOver, h.code, h.reason = true, code, reason
	h.urbs.parked = nil
	h.mu.Unlock()
	h.cancel()
	h.s.mu.Lock()
	h.s.endGroup(h.group)
	close(h.ending)
	h.s.unlock()
}

// isEnding reports whether end was called.
func (h *hosted) isEnding() bool {
	select {
	case <-h.ending:
		return true
	default:
		return false
	}
}

// conclude tells the peer that the attachment is over, as the last of it.
func (h *hosted) conclude(kind tunnel.Kind) {
	h.mu.Lock()
	code, reason := h.code, h.reason
	h.mu.Unlock()
	body := tunnel.Detached{Attachment: h.want.Attachment, Code: code, Reason: reason}.Encode()
	if kind == tunnel.KindAttachFailed {
		body = tunnel.AttachFailed{Attachment: h.want.Attachment, Code: code, Message: reason}.Encode()
	}
	s := h.s
	s.mu.Lock()
	defer s.unlock()
	delete(s.holders, h)
	close(h.done)
	if !h.control.dead {
		delete(s.state.hosted, h.want.Attachment)
		s.pushControl(h.control, kind, body)
	}
	s.emit(Event{Kind: Attachments})
}

// Revoke ends the peer's attachments to the devices that match, and waits until
// they were given back. Those that are still being opened are cancelled, and
// not waited for.
func (s *Session) Revoke(match func(deviceID string) bool, reason string) {
	s.mu.Lock()
	var all []*hosted
	for h := range s.holders {
		all = append(all, h)
	}
	s.mu.Unlock()
	var wait []*hosted
	for _, h := range all {
		if match(h.want.Device) {
			h.end(tunnel.CodeRevoked, reason)
			if h.isOpen() {
				wait = append(wait, h)
			}
		}
	}
	for _, h := range wait {
		<-h.done
	}
}

func (h *hosted) isOpen() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dev != nil
}

// Holds reports whether the peer has a device, and since when its link is up
// (linked) or lost. A device whose holder's link is lost can be given to
// another peer: [Session.Revoke] takes it back. A dead link is noticed within
// 9 s.
func (s *Session) Holds(deviceID string) (linked bool, since time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h := range s.holders {
		ok = ok || h.want.Device == deviceID && !h.isEnding()
	}
	return s.links.active != nil, s.links.since, ok
}

func (h *hosted) status() AttachmentStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	return AttachmentStatus{
		Number: h.want.Attachment, Device: h.want.Device, Name: h.name, Since: h.since,
		Pending: len(h.urbs.live), Done: h.traffic.done, BytesIn: h.traffic.in, BytesOut: h.traffic.out,
	}
}
