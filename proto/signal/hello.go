package signal

import (
	"crypto/ed25519"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Hello is a peer's first message: it proves the key that the peer is.
type Hello struct {
	Public    [ed25519.PublicKeySize]byte
	Expiry    time.Time // in the rendezvous's time, in milliseconds
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

// NewHello answers a challenge that came over the connection c.
func NewHello(k ident.Key, challenge Challenge, c tls.ConnectionState) (Hello, error) {
	bound, err := exporter(c)
	if err != nil {
		return Hello{}, err
	}
	m := Hello{Expiry: challenge.Time.Add(HelloValidity).Truncate(time.Millisecond)}
	copy(m.Public[:], k.Public())
	copy(m.Signature[:], k.Sign(ident.PurposeSignal, challenge.Nonce[:], bound, milliseconds(m.Expiry)))
	return m, nil
}

// Errors of a Hello that proves nothing.
var (
	ErrHelloExpired   = errors.New("the Hello has expired or is valid for too long")
	ErrHelloSignature = errors.New("the Hello's signature is not of this key and connection")
)

// Verify returns the peer that answered the challenge on the connection c, at
// the rendezvous's time now.
func (m Hello) Verify(challenge Challenge, c tls.ConnectionState, now time.Time) (ident.PeerID, error) {
	if now.After(m.Expiry) || m.Expiry.Sub(now) > HelloValidity {
		return ident.PeerID{}, ErrHelloExpired
	}
	bound, err := exporter(c)
	if err != nil {
		return ident.PeerID{}, err
	}
	if !ident.Verify(m.Public[:], ident.PurposeSignal, m.Signature[:], challenge.Nonce[:], bound, milliseconds(m.Expiry)) {
		return ident.PeerID{}, ErrHelloSignature
	}
	return ident.IDOf(m.Public[:]), nil
}

// exporter returns 32 bytes that only the two ends of this TLS connection know.
func exporter(c tls.ConnectionState) ([]byte, error) {
	if c.Version < tls.VersionTLS13 {
		return nil, fmt.Errorf("signalling needs TLS 1.3, the connection has %s", tls.VersionName(c.Version))
	}
	bound, err := c.ExportKeyingMaterial("EXPORTER-easyfind-signal", nil, 32)
	if err != nil {
		return nil, fmt.Errorf("exporter of the TLS connection: %w", err)
	}
	return bound, nil
}

func milliseconds(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(t.UnixMilli()))
}
