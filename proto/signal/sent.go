package signal

import "encoding/binary"

// Sent reports that the other peer has confirmed the [Send] with this ID.
type Sent struct{ ID uint32 }

const sentSize = 4

func (Sent) fromRendezvous() {}

func (m Sent) appendFrame(b []byte) []byte {
	return binary.BigEndian.AppendUint32(appendHeader(b, KindSent, sentSize), m.ID)
}

func decodeSent(body []byte) (Sent, error) {
	if err := exactly("Sent", body, sentSize); err != nil {
		return Sent{}, err
	}
	return Sent{ID: binary.BigEndian.Uint32(body)}, nil
}
