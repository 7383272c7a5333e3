package rvclient

import (
	"errors"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/proto/signal"
)

// The errors by which a caller decides what to do next.
var (
	// ErrNotConnected: there is no signalling connection now; [Client.State] says why.
	ErrNotConnected = errors.New("not connected to the rendezvous")
	// ErrPeerOffline: the peer is not connected to the rendezvous.
	ErrPeerOffline = errors.New("the peer is not connected to the rendezvous: is its agent running and online?")
	// ErrNotAllowed: the rendezvous knows no such peer, or the peer does not allow this one.
	ErrNotAllowed = errors.New("the rendezvous knows no such peer, or that peer does not allow this one: pair the two first")
	// ErrBusy: the peer or the rendezvous takes no more at the moment.
	ErrBusy = errors.New("too many messages at once: try again in a few seconds")
	// ErrUnconfirmed: the other agent may have the message or not.
	ErrUnconfirmed = errors.New("the other agent did not confirm the message")
	// ErrUnavailable: the rendezvous cannot serve at the moment.
	ErrUnavailable = errors.New("the rendezvous cannot serve at the moment: it is tried again by itself")
	// ErrRefused: the rendezvous does not let this agent in.
	ErrRefused = errors.New("the rendezvous does not let this agent in")
	// ErrNoMailbox: the EasyFind address is unknown, used up or expired.
	ErrNoMailbox = errors.New("nobody is pairing under this EasyFind address: check it, or ask for a new one (it lasts 10 minutes and three tries)")
)

// failure turns the wire's reason into one of this package's errors.
func failure(code signal.Failure) error {
	switch code {
	case signal.FailureOffline:
		return ErrPeerOffline
	case signal.FailureNotAllowed:
		return ErrNotAllowed
	case signal.FailureBusy, signal.FailureRate:
		return ErrBusy
	case signal.FailureUnconfirmed:
		return ErrUnconfirmed
	case signal.FailureUnavailable:
		return ErrUnavailable
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, code)
}

// byeError is the end of a connection as the rendezvous explained it.
type byeError struct {
	code signal.ByeCode
	text string
}

func (e *byeError) Error() string {
	return fmt.Sprintf("the rendezvous ended the connection: %s", e.text)
}

// said reports whether err is a Bye with the code.
func said(err error, code signal.ByeCode) bool {
	var bye *byeError
	return errors.As(err, &bye) && bye.code == code
}

// State says whether the agent can be found, and why not.
type State struct {
	Connected bool      `json:"connected"`
	Via       Via       `json:"via,omitempty"`    // how, while connected
	Since     time.Time `json:"since"`            // of Connected's present value
	Reason    string    `json:"reason,omitempty"` // a sentence for a person; empty while connected
}

// String is the state in a person's words.
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
