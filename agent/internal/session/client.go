package session

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// peerList is what the peer shares, as it said last. It is guarded by
// Session.mu.
type peerList struct {
	first   chan struct{} // closed with the first list
	devices []tunnel.Device
}

// Devices returns what the peer shares, as it said last. It waits for a link
// and the first list.
func (s *Session) Devices(ctx context.Context) ([]tunnel.Device, error) {
	for {
		s.mu.Lock()
		list := s.state.list
		devices := slices.Clone(list.devices)
		s.mu.Unlock()
		select {
		case <-list.first:
			if devices != nil {
				return devices, nil
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("the peer's devices: %w", context.Cause(ctx))
		case <-s.over:
			return nil, ErrOver
		}
	}
}

func (s *Session) hearDevices(control *group, m tunnel.Devices) error {
	s.mu.Lock()
	defer s.unlock()
	if control.dead {
		return nil
	}
	list := s.state.list
	if list.devices == nil {
		close(list.first)
	}
	list.devices = append([]tunnel.Device{}, m.Devices...)
	s.emit(Event{Kind: Devices})
	return nil
}

// Attach opens a device of the peer; the session chooses a.Attachment. It waits
// for a link and for the host's answer, whose refusal is an *AttachError.
// Closing the device gives it back.
func (s *Session) Attach(ctx context.Context, a tunnel.Attach) (usb.Device, error) {
	d, err := s.newFar(a)
	if err != nil {
		return nil, fmt.Errorf("attach device %s: %w", a.Device, err)
	}
	select {
	case <-d.answered:
	case <-d.gone:
		return nil, fmt.Errorf("attach device %s: %w", a.Device, d.Why())
	case <-ctx.Done():
		d.detach(&EndedError{Reason: "nobody waits for it any more"})
		return nil, fmt.Errorf("attach device %s: %w", a.Device, context.Cause(ctx))
	}
	if len(a.Expect) > 0 && !bytes.Equal(a.Expect, Fingerprint(d.info.Descriptors)) {
		d.detach(&EndedError{Reason: ErrChanged.Error()})
		return nil, fmt.Errorf("attach device %s: %w", a.Device, ErrChanged)
	}
	return d, nil
}

// newFar asks the peer for a device.
func (s *Session) newFar(a tunnel.Attach) (*far, error) {
	s.mu.Lock()
	defer s.unlock()
	if s.phase >= phaseStopping {
		return nil, ErrOver
	}
	if len(s.state.far) >= tunnel.MaxAttachments {
		return nil, fmt.Errorf("%w: %d from this peer; release one first", ErrLimit, len(s.state.far))
	}
	a.Attachment = s.nextFar()
	d := &far{
		s: s, device: a.Device, group: newGroup(a.Attachment), control: s.state.control,
		answered: make(chan struct{}), gone: make(chan struct{}), detached: make(chan struct{}),
		pending: make(map[uint64]*farURB), byURB: make(map[*usb.URB]*farURB),
	}
	d.group.deliver = d.deliver
	d.group.released = d.released
	d.group.violated = func(reason string) { d.detach(&EndedError{tunnel.CodeProtocol, reason}) }
	s.state.far[a.Attachment] = d
	s.state.groups[a.Attachment] = d.group
	s.pushControl(s.state.control, tunnel.KindAttach, a.Encode())
	return d, nil
}

// nextFar returns a number that no attachment has. Mu is held.
func (s *Session) nextFar() uint16 {
	for {
		s.state.lastFar += 2
		if s.state.lastFar&1 != numbering(s.cfg.Local.Compare(s.cfg.Remote) < 0) {
			s.state.lastFar++
		}
		n := s.state.lastFar
		if n != 0 && s.state.far[n] == nil {
			return n
		}
	}
}

// numbering is the lowest bit of a client's attachments.
func numbering(lower bool) uint16 {
	if lower {
		return 1
	}
	return 0
}

// heard returns the far device that a message of the host is about, or nil if
// its state is gone. Mu is held.
func (s *Session) heard(control *group, attachment uint16) (*far, error) {
	if control.dead {
		return nil, nil
	}
	d := s.state.far[attachment]
	if d == nil {
		return nil, fmt.Errorf("%w: attachment %d, which is not there", tunnel.ErrMalformed, attachment)
	}
	return d, nil
}

func (s *Session) hearAttached(control *group, m tunnel.Attached) error {
	s.mu.Lock()
	defer s.unlock()
	d, err := s.heard(control, m.Attachment)
	if d == nil {
		return err
	}
	if !d.since.IsZero() {
		return fmt.Errorf("%w: attachment %d is attached twice", tunnel.ErrMalformed, m.Attachment)
	}
	d.info, d.since = InfoOf(m.Device), time.Now()
	close(d.answered)
	s.emit(Event{Kind: Attachments})
	return nil
}

func (s *Session) hearAttachFailed(control *group, m tunnel.AttachFailed) error {
	s.mu.Lock()
	defer s.unlock()
	d, err := s.heard(control, m.Attachment)
	if d == nil {
		return err
	}
	s.removeFar(d, &AttachError{d.device, m.Code, m.Message}, usb.StatusNoDevice)
	return nil
}

func (s *Session) hearDetached(control *group, m tunnel.Detached) error {
	s.mu.Lock()
	defer s.unlock()
	d, err := s.heard(control, m.Attachment)
	if d == nil {
		return err
	}
	status := usb.StatusShutdown
	if m.Code == tunnel.CodeUnplugged {
		status = usb.StatusNoDevice
	}
	s.removeFar(d, &EndedError{m.Code, m.Reason}, status)
	return nil
}

// removeFar forgets an attachment of which the host has said the last word. Mu
// is held.
func (s *Session) removeFar(d *far, reason error, status usb.Status) {
	delete(s.state.far, d.group.attachment)
	s.endGroup(d.group)
	s.emit(Event{Kind: Attachments})
	s.after = append(s.after, func() { d.forget(reason, status) })
}
