package session

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// Attach opens a device of the peer; the session chooses a.Attachment. It waits for a link and for the host's answer,
// whose refusal is an *AttachError. Closing the device gives it back.
func (s *Session) Attach(ctx context.Context, a tunnel.Attach) (usb.Device, error) {
	d, err := s.newRemoteDevice(a)
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

// newRemoteDevice asks the peer for a device.
func (s *Session) newRemoteDevice(m tunnel.Attach) (*remoteDevice, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.current
	if s.isOver {
		return nil, ErrOver
	}
	if len(a.remote) >= tunnel.MaxAttachments {
		return nil, fmt.Errorf("%w: %d from this peer; release one first", ErrLimit, len(a.remote))
	}
	m.Attachment = s.nextNumber()
	d := &remoteDevice{
		session: s, attachments: a, device: m.Device, number: m.Attachment, limit: m.Limit,
		answered: make(chan struct{}), gone: make(chan struct{}), detached: make(chan struct{}),
	}
	d.group = a.lanes.NewGroup(m.Attachment, d)
	d.group.SetLimit(m.Limit)
	d.group.Open()
	a.remote[m.Attachment] = d
	a.push(tunnel.KindAttach, m.Encode())
	return d, nil
}

// nextNumber returns a number that no attachment has. mu must be held.
func (s *Session) nextNumber() uint16 {
	for {
		s.lastNumber += 2
		if s.lastNumber&1 != numbering(s.cfg.Local.Compare(s.cfg.Remote) < 0) {
			s.lastNumber++
		}
		if n := s.lastNumber; n != 0 && s.current.remote[n] == nil {
			return n
		}
	}
}

// numbering returns the lowest bit of the attachment numbers that a client uses: the peer with the lower PeerID uses
// odd numbers.
func numbering(lowerID bool) uint16 {
	if lowerID {
		return 1
	}
	return 0
}

// find returns the remote device that a message of the host is about. It returns nil without an error if the state was
// dropped. Session.mu must be held.
func (a *attachments) find(number uint16) (*remoteDevice, error) {
	if a.isOver {
		return nil, nil
	}
	d := a.remote[number]
	if d == nil {
		return nil, malformed("attachment %d, which does not exist", number)
	}
	return d, nil
}

func (a *attachments) handleAttachReply(m tunnel.AttachReply) error {
	a.session.mu.Lock()
	defer a.session.mu.Unlock()
	d, err := a.find(m.Attachment)
	if d == nil {
		return err
	}
	if !d.since.IsZero() {
		return malformed("attachment %d is attached twice", m.Attachment)
	}
	d.info, d.guarded, d.isochronous, d.since = InfoOf(m.Device), m.Guarded, m.Isochronous, time.Now()
	d.classes = laneClasses(d.info.Descriptors)
	close(d.answered)
	a.session.events.add(Event{Kind: Attachments})
	return nil
}

func (a *attachments) handleAttachFailure(m tunnel.AttachFailure) error {
	d, err := a.remove(m.Attachment)
	if d != nil {
		d.forget(&AttachError{d.device, m.Code, m.Message}, usb.StatusNoDevice)
	}
	return err
}

func (a *attachments) handleDetachReply(m tunnel.DetachReply) error {
	d, err := a.remove(m.Attachment)
	if d != nil {
		status := usb.StatusShutdown
		if m.Code == tunnel.CodeUnplugged {
			status = usb.StatusNoDevice
		}
		d.forget(&EndedError{m.Code, m.Reason}, status)
	}
	return err
}

// remove removes a remote device whose host has sent its last message about it. Its result is that of find.
func (a *attachments) remove(number uint16) (*remoteDevice, error) {
	a.session.mu.Lock()
	defer a.session.mu.Unlock()
	d, err := a.find(number)
	if d != nil {
		delete(a.remote, number)
		a.session.events.add(Event{Kind: Attachments})
	}
	return d, err
}

// sendDetach asks the host to take a device back, unless the attachment has ended.
func (a *attachments) sendDetach(d *remoteDevice) {
	a.session.mu.Lock()
	defer a.session.mu.Unlock()
	if a.remote[d.number] == d {
		a.push(tunnel.KindDetach, tunnel.Detach{Attachment: d.number}.Encode())
	}
}
