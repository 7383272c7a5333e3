package signal

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Hello is the first message of a peer. It proves that the peer has its key.
type Hello struct {
	Public    [ed25519.PublicKeySize]byte
	Expiry    time.Time // in the time of the rendezvous, in milliseconds
	Signature [ed25519.SignatureSize]byte
}

const helloSize = ed25519.PublicKeySize + 8 + ed25519.SignatureSize

func (Hello) fromPeer() {}

func (m Hello) appendFrame(b []byte) []byte {
	b = appendHeader(b, KindHello, helloSize)
	b = append(b, m.Public[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Expiry.UnixMilli()))
	return append(b, m.Signature[:]...)
}

func decodeHello(body []byte) (Hello, error) {
	var m Hello
	if err := exactly("Hello", body, helloSize); err != nil {
		return m, err
	}
	rest := body[copy(m.Public[:], body):]
	m.Expiry = time.UnixMilli(int64(binary.BigEndian.Uint64(rest)))
	copy(m.Signature[:], rest[8:])
	return m, nil
}

// NewHello returns the answer to a challenge on a connection with a binding.
func NewHello(k ident.Key, challenge Challenge, b Binding) Hello {
	m := Hello{Expiry: challenge.Time.Add(HelloValidity).Truncate(time.Millisecond)}
	copy(m.Public[:], k.Public())
	copy(m.Signature[:], k.Sign(b.purpose, challenge.Nonce[:], b.value, milliseconds(m.Expiry)))
	return m
}

// Errors of a Hello that is not valid.
var (
	ErrHelloExpired   = errors.New("the Hello has expired or is valid for too long")
	ErrHelloSignature = errors.New("the Hello's signature is not of this key and connection")
)

// Verify returns the peer that answered a challenge on a connection with a binding. now is the time of the rendezvous.
func (m Hello) Verify(challenge Challenge, b Binding, now time.Time) (ident.PeerID, error) {
	if now.After(m.Expiry) || m.Expiry.Sub(now) > HelloValidity {
		return ident.PeerID{}, ErrHelloExpired
	}
	if b.purpose == "" ||
		!ident.Verify(m.Public[:], b.purpose, m.Signature[:], challenge.Nonce[:], b.value, milliseconds(m.Expiry)) {
		return ident.PeerID{}, fmt.Errorf("%w; %s", ErrHelloSignature, b.hint)
	}
	return ident.IDOf(m.Public[:]), nil
}

func milliseconds(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(t.UnixMilli()))
}
