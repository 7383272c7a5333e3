package hub

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// admit finds out which peer has connected, and returns its connection. It returns nil if it refuses the peer.
func (h *Hub) admit(ctx context.Context, s stream, frames *signal.Reader, bound signal.Binding) *connection {
	select {
	case h.greetings <- struct{}{}:
	default:
		return nil // too many strangers at once; a registered peer tries again
	}
	id, bye := h.greet(ctx, s, frames, bound)
	<-h.greetings
	if bye != nil {
		h.log.Debug("refused a signalling connection", "remote_addr", s.RemoteAddr(), "reason", bye.Text)
		s.SetWriteDeadline(time.Now().Add(byeTimeout))
		s.Write(signal.AppendFromRendezvous(nil, *bye))
		return nil
	}
	frames.Greeted()
	return newConnection(h, id, s)
}

// greet sends a challenge and returns the peer that answers it, or the reason why that peer is refused.
func (h *Hub) greet(
	ctx context.Context, s stream, frames *signal.Reader, bound signal.Binding,
) (ident.PeerID, *signal.Bye) {
	s.SetDeadline(time.Now().Add(signal.HelloTimeout))
	challenge := signal.Challenge{Time: h.now().Truncate(time.Millisecond)}
	rand.Read(challenge.Nonce[:]) // never fails: crypto/rand ends the program instead
	if _, err := s.Write(signal.AppendFromRendezvous(nil, challenge)); err != nil {
		return refuse(signal.ByeProtocol, "the challenge could not be written")
	}
	m, err := frames.FromPeer()
	if err != nil {
		return refuse(signal.ByeProtocol, fmt.Sprintf("no Hello came: %v", err))
	}
	hello, ok := m.(signal.Hello)
	if !ok {
		return refuse(signal.ByeProtocol, "the first message must be a Hello")
	}
	id, err := hello.Verify(challenge, bound, h.now())
	if err != nil {
		return refuse(signal.ByeRefused, err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	switch err := h.registry.Admit(ctx, id); {
	case err == nil:
		s.SetDeadline(time.Time{})
		return id, nil
	case errors.Is(err, ErrUnknown):
		return refuse(signal.ByeNotRegistered, "this key is not registered here: register it with an invite")
	case errors.Is(err, ErrRevoked):
		return refuse(signal.ByeRevoked, "the operator has revoked this peer: ask for a new invite")
	default:
		h.log.Warn("cannot decide whether a peer may connect", "peer", id.Short(), "err", err)
		return refuse(signal.ByeUnavailable,
			"the rendezvous cannot reach its database at the moment: the agent tries again by itself")
	}
}

// refuse returns the results of greet for a peer that is refused.
func refuse(code signal.ByeCode, text string) (ident.PeerID, *signal.Bye) {
	return ident.PeerID{}, &signal.Bye{Code: code, Text: text}
}
