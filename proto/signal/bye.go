package signal

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// ByeCode is the reason why the rendezvous ends the connection.
type ByeCode uint8

// The codes, and the reaction of the peer.
const (
	ByeDraining      ByeCode = 1 // the instance stops; connect again, with jitter
	ByeReplaced      ByeCode = 2 // the same peer has connected again; do not connect because of this
	ByeRevoked       ByeCode = 3 // the peer has been revoked; it needs an invite
	ByeNotRegistered ByeCode = 4 // the key is not registered; register first
	ByeRefused       ByeCode = 5 // the Hello is not valid
	ByeProtocol      ByeCode = 6 // the peer violated the protocol
	ByeIdle          ByeCode = 7 // the peer was silent for too long, or does not read
	ByeUnavailable   ByeCode = 8 // the rendezvous is unavailable; connect again later
)

// Bye is the last message of the rendezvous on a connection.
type Bye struct {
	Code ByeCode
	Text string // for people; at most MaxText bytes of UTF-8
}

func (Bye) fromRendezvous() {}

func (m Bye) appendFrame(b []byte) []byte {
	text := m.Text
	if len(text) > MaxText {
		text = strings.ToValidUTF8(text[:MaxText], "")
	}
	b = appendHeader(b, KindBye, 1+len(text))
	return append(append(b, byte(m.Code)), text...)
}

func decodeBye(body []byte) (Bye, error) {
	if len(body) < 1 || len(body) > 1+MaxText || !utf8.Valid(body[1:]) {
		return Bye{}, fmt.Errorf("%w: Bye of %d bytes, want a code and at most %d bytes of UTF-8",
			ErrBody, len(body), MaxText)
	}
	return Bye{Code: ByeCode(body[0]), Text: string(body[1:])}, nil
}
