package signal

import (
	"encoding/binary"
	"time"
)

// Welcome accepts the peer, which is present from now on.
type Welcome struct {
	Idle time.Duration // silence after which the rendezvous closes the connection, in whole seconds below 65536
}

const welcomeSize = 2

func (Welcome) fromRendezvous() {}

func (m Welcome) appendFrame(b []byte) []byte {
	b = appendHeader(b, KindWelcome, welcomeSize)
	return binary.BigEndian.AppendUint16(b, uint16(m.Idle/time.Second))
}

func decodeWelcome(body []byte) (Welcome, error) {
	if err := exactly("Welcome", body, welcomeSize); err != nil {
		return Welcome{}, err
	}
	return Welcome{Idle: time.Duration(binary.BigEndian.Uint16(body)) * time.Second}, nil
}
