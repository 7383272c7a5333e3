package signal

import (
	"encoding/binary"
	"fmt"
)

// Failure is why a [Send] was not confirmed. It is an error.
type Failure uint8

// The failures. A peer that does not exist and one that does not allow the
// sender are the same to the sender.
const (
	FailureOffline     Failure = 1 // the peer is not connected
	FailureNotAllowed  Failure = 2 // unknown, or does not allow the sender
	FailureBusy        Failure = 3 // the peer has too much unconfirmed; send again later
	FailureRate        Failure = 4 // the sender sends too much; send again later
	FailureUnconfirmed Failure = 5 // the peer's connection ended or it was silent: it may have the message or not
	FailureUnavailable Failure = 6 // the rendezvous cannot tell now, its database or another instance does not answer
)

// Error is the failure in a person's words.
func (f Failure) Error() string {
	switch f {
	case FailureOffline:
		return "the peer is not connected to the rendezvous"
	case FailureNotAllowed:
		return "the rendezvous knows no such peer, or that peer does not allow this one"
	case FailureBusy:
		return "the peer takes no more messages at the moment"
	case FailureRate:
		return "the rendezvous limits how much this peer sends"
	case FailureUnconfirmed:
		return "the peer did not confirm the message"
	case FailureUnavailable:
		return "the rendezvous cannot reach its database or the peer's instance at the moment"
	}
	return fmt.Sprintf("failure %d", uint8(f))
}

// Failed says that the [Send] with this ID was not confirmed.
type Failed struct {
	ID   uint32
	Code Failure
}

const failedSize = 5

func (Failed) fromRendezvous() {}

func (m Failed) appendFrame(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(appendHeader(b, KindFailed, failedSize), m.ID)
	return append(b, byte(m.Code))
}

func decodeFailed(body []byte) (Failed, error) {
	if err := exactly("Failed", body, failedSize); err != nil {
		return Failed{}, err
	}
	return Failed{ID: binary.BigEndian.Uint32(body), Code: Failure(body[4])}, nil
}
