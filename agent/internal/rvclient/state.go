package rvclient

import (
	"errors"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// State is the state of the signalling connection. While the agent is not
// connected, other peers cannot find it.
type State struct {
	Connected bool
	Via       Via       // set while connected
	Since     time.Time // when Connected changed last
	Reason    string    // why it is not connected, for people; empty while connected
}

// String returns a description for people.
func (s State) String() string {
	switch {
	case !s.Connected:
		return s.Reason
	case s.Via == ViaWebSocket:
		return "connected to the rendezvous (WebSocket)"
	case s.Via == ViaProxy:
		return "connected to the rendezvous (WebSocket, through a reverse proxy)"
	}
	return "connected to the rendezvous"
}

// reason returns the State.Reason for an error of a connection.
func reason(err error) string {
	var bye *byeError
	switch {
	case errors.As(err, &bye) && bye.code == signal.ByeReplaced:
		return "another agent with the same key has connected to the rendezvous: run only one of them"
	case errors.As(err, &bye):
		return bye.Error()
	case errors.Is(err, ident.ErrUntrusted):
		return "the server at this address is not the rendezvous of the join link (its key differs): " +
			"get a new join link, or find out which server answers there"
	}
	return "the rendezvous cannot be used: " + err.Error()
}
