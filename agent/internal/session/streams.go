package session

import (
	"sync/atomic"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// isochronous is a device of this agent whose isochronous endpoints run by themselves; see package tunnel.
type isochronous interface {
	// Isochronous takes the function that sends lossy frames to the client, and returns the one that handles those of
	// the client. Both may be called on any goroutine.
	Isochronous(cast func(endpoint uint8, kind tunnel.Kind, bodies ...[]byte)) (receive func(tunnel.Frame))
}

// streams holds the function that handles the lossy frames of the peer. Without one, they are dropped.
type streams struct {
	handler atomic.Pointer[func(tunnel.Frame)]
}

func (s *streams) set(receive func(tunnel.Frame)) { s.handler.Store(&receive) }

func (s *streams) receive(f tunnel.Frame) {
	if receive := s.handler.Load(); receive != nil {
		(*receive)(f)
	}
}
