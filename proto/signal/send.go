package signal

import (
	"encoding/binary"
	"fmt"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Send asks the rendezvous to deliver a body to another peer. The rendezvous answers with one [Sent] or [SendFailed]
// with the same ID.
type Send struct {
	ID   uint32 // chosen by the sender; unique among its unanswered messages
	To   ident.PeerID
	Body []byte // at most MaxBody bytes
}

const sendPrefix = 4 + len(ident.PeerID{})

func (Send) fromPeer() {}

func (m Send) appendFrame(b []byte) []byte {
	b = appendHeader(b, KindSend, sendPrefix+len(m.Body))
	return appendPost(b, m.ID, m.To, m.Body)
}

func decodeSend(body []byte) (Send, error) {
	id, to, rest, err := decodePost("Send", body)
	return Send{ID: id, To: to, Body: rest}, err
}

// appendPost appends the body of a Send or Deliver, which have the same layout.
func appendPost(b []byte, number uint32, peer ident.PeerID, body []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, number)
	b = append(b, peer[:]...)
	return append(b, body...)
}

// decodePost decodes the body of a Send or Deliver.
func decodePost(what string, body []byte) (number uint32, peer ident.PeerID, rest []byte, err error) {
	if len(body) < sendPrefix || len(body) > sendPrefix+MaxBody {
		return 0, peer, nil, fmt.Errorf("%w: %s of %d bytes, want %d to %d",
			ErrBody, what, len(body), sendPrefix, sendPrefix+MaxBody)
	}
	number = binary.BigEndian.Uint32(body)
	copy(peer[:], body[4:])
	return number, peer, body[sendPrefix:], nil
}
