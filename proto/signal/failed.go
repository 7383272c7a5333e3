package signal

import (
	"encoding/binary"
	"fmt"
)

// Failure is the reason why a [Send] was not confirmed. It is an error.
type Failure uint8

// The failures. The sender cannot distinguish a peer that does not exist from one that does not allow the sender.
const (
	FailureOffline     Failure = 1 // the peer is not connected
	FailureNotAllowed  Failure = 2 // the peer does not exist, or does not allow the sender
	FailureBusy        Failure = 3 // the peer has too many unconfirmed messages; send again later
	FailureRate        Failure = 4 // the sender exceeds its rate; send again later
	FailureUnconfirmed Failure = 5 // the peer did not answer, or its connection ended: it may have the message
	FailureUnavailable Failure = 6 // the database or another instance does not answer the rendezvous
)

// Error returns a text for people.
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

// SendFailed reports that the [Send] with this ID was not confirmed.
type SendFailed struct {
	ID   uint32
	Code Failure
}

const failedSize = 5

func (SendFailed) fromRendezvous() {}

func (m SendFailed) appendFrame(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(appendHeader(b, KindFailed, failedSize), m.ID)
	return append(b, byte(m.Code))
}

func decodeFailed(body []byte) (SendFailed, error) {
	if err := exactly("Failed", body, failedSize); err != nil {
		return SendFailed{}, err
	}
	return SendFailed{ID: binary.BigEndian.Uint32(body), Code: Failure(body[4])}, nil
}
