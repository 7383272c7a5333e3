package rvclient

import (
	"errors"
	"fmt"

	"github.com/easyfind-usb/easyfind/proto/signal"
)

// Errors by which callers decide how to continue. Returned errors wrap them.
var (
	// ErrNotConnected means that there is no signalling connection at the moment.
	// [Client.State] returns the reason.
	ErrNotConnected = errors.New("not connected to the rendezvous")
	// ErrPeerOffline means that the peer is not connected to the rendezvous.
	ErrPeerOffline = errors.New("the peer is not connected to the rendezvous: is its agent running and online?")
	// ErrNotAllowed means that the peer is unknown or does not allow this peer.
	ErrNotAllowed = errors.New("the rendezvous knows no such peer, or that peer does not allow this one: " +
		"pair the two first")
	// ErrBusy means that a rate limit of the peer or of the rendezvous is exceeded.
	ErrBusy = errors.New("too many messages at once: try again in a few seconds")
	// ErrUnconfirmed means that the message may or may not have arrived.
	ErrUnconfirmed = errors.New("the other agent did not confirm the message")
	// ErrUnavailable means that the rendezvous cannot be reached or cannot serve.
	ErrUnavailable = errors.New("the rendezvous is unavailable at the moment; the agent tries again by itself")
	// ErrRefused means that the rendezvous does not accept this agent.
	ErrRefused = errors.New("the rendezvous refused this agent")
	// ErrNoMailbox means that the EasyFind address is unknown, used or expired.
	ErrNoMailbox = errors.New("no machine is pairing under this EasyFind address: " +
		"check it, or ask for a new one (it is valid for 10 minutes and three tries)")
)

// failure converts the code of a SendFailed message to an error of this package.
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

// byeError is the reason that the rendezvous gave when it ended a connection.
type byeError struct {
	code signal.ByeCode
	text string
}

func (e *byeError) Error() string {
	return fmt.Sprintf("the rendezvous ended the connection: %s", e.text)
}

// isBye reports whether err is a Bye with that code.
func isBye(err error, code signal.ByeCode) bool {
	var bye *byeError
	return errors.As(err, &bye) && bye.code == code
}
