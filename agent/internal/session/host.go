package session

import (
	"context"
	"fmt"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// handleAttach begins an attachment.
func (a *attachments) handleAttach(m tunnel.Attach) error {
	s := a.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.isOver {
		return nil
	}
	peerBit := numbering(s.cfg.Remote.Compare(s.cfg.Local) < 0)
	if m.Attachment&1 != peerBit || a.exported[m.Attachment] != nil {
		return malformed("attachment %d, a number that the peer must not use now", m.Attachment)
	}
	if s.cfg.Host == nil {
		a.refuse(m, tunnel.CodeDenied, ErrDenied.Error())
		return nil
	}
	if n := len(s.holders); n >= tunnel.MaxAttachments {
		a.refuse(m, tunnel.CodeLimit, fmt.Sprintf("this peer has %d devices attached; it has to release one first", n))
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	x := newExportedAttachment(a, m, cancel)
	var earlier []*exportedAttachment
	for o := range s.holders {
		if o.request.Device == m.Device && o.isEnding() {
			earlier = append(earlier, o)
		}
	}
	x.group.Open()
	a.exported[m.Attachment] = x
	s.holders[x] = struct{}{}
	s.work.Go(func() { x.serve(ctx, earlier) })
	return nil
}

// refuse answers an Attach. Session.mu must be held.
func (a *attachments) refuse(m tunnel.Attach, code tunnel.Code, message string) {
	failure := tunnel.AttachFailure{Attachment: m.Attachment, Code: code, Message: message}
	a.push(tunnel.KindAttachFailed, failure.Encode())
}

// handleDetach ends an attachment. An attachment that does not exist has ended by itself.
func (a *attachments) handleDetach(m tunnel.Detach) error {
	a.session.mu.Lock()
	x := a.exported[m.Attachment]
	a.session.mu.Unlock()
	if x != nil {
		x.end(tunnel.CodeDetached, "as asked for")
	}
	return nil
}

// conclude removes an attachment that has ended, and sends its last message.
func (a *attachments) conclude(x *exportedAttachment, kind tunnel.Kind, body []byte) {
	s := a.session
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.holders, x)
	delete(a.exported, x.request.Attachment)
	a.push(kind, body)
	s.events.add(Event{Kind: Attachments})
}

// Revoke ends the peer's attachments to the devices that match, and waits until their devices were given back. It
// cancels attachments whose device is still being opened, and does not wait for them.
func (s *Session) Revoke(match func(deviceID string) bool, reason string) {
	s.mu.Lock()
	var revoked []*exportedAttachment
	for x := range s.holders {
		if match(x.request.Device) {
			revoked = append(revoked, x)
		}
	}
	s.mu.Unlock()
	for _, x := range revoked {
		x.end(tunnel.CodeRevoked, reason)
	}
	for _, x := range revoked {
		if x.isOpen() {
			<-x.done
		}
	}
}
