package signal

import (
	"encoding/binary"
	"time"
)

// NonceSize is the length of the nonce of a Challenge, in bytes.
const NonceSize = 32

// Challenge is the first message of the rendezvous.
type Challenge struct {
	Nonce [NonceSize]byte // random; for this connection only
	Time  time.Time       // the time of the rendezvous, in milliseconds
}

const challengeSize = NonceSize + 8

func (Challenge) fromRendezvous() {}

func (m Challenge) appendFrame(b []byte) []byte {
	b = appendHeader(b, KindChallenge, challengeSize)
	b = append(b, m.Nonce[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(m.Time.UnixMilli()))
}

func decodeChallenge(body []byte) (Challenge, error) {
	var m Challenge
	if err := exactly("Challenge", body, challengeSize); err != nil {
		return m, err
	}
	copy(m.Nonce[:], body)
	m.Time = time.UnixMilli(int64(binary.BigEndian.Uint64(body[NonceSize:])))
	return m, nil
}
