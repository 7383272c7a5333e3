package signal

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Envelope is a message from one peer to another, signed end to end:
//
//	public key 32 │ unix milliseconds 8 │ nonce 16 │ signature 64 │ body
//
// The signature covers the PeerIDs of the sender and the receiver, the time, the nonce and the body.
type Envelope struct {
	From  ident.PeerID
	Time  time.Time // the time of the rendezvous as the sender knows it, in milliseconds
	Nonce EnvelopeNonce
	Body  []byte
}

// EnvelopeNonce makes each envelope of a sender unique.
type EnvelopeNonce [16]byte

// Bounds of envelopes.
const (
	MaxEnvelopeBody = 32 << 10        // bytes
	EnvelopeFresh   = 2 * time.Minute // the largest difference between the times of sender and receiver
)

const envelopePrefix = ed25519.PublicKeySize + 8 + len(EnvelopeNonce{}) + ed25519.SignatureSize

// Errors of envelopes.
var (
	ErrEnvelopeSize      = fmt.Errorf("a message between peers holds at most %d bytes", MaxEnvelopeBody)
	ErrEnvelopeSignature = errors.New("envelope: the signature is not that of its sender for this receiver")
	ErrEnvelopeStale     = errors.New("envelope: its time is too far from now")
)

// Seal returns an envelope that k signs for the peer to, at the time now. It reads the nonce from random.
func Seal(k ident.Key, to ident.PeerID, body []byte, now time.Time, random io.Reader) ([]byte, error) {
	if len(body) > MaxEnvelopeBody {
		return nil, ErrEnvelopeSize
	}
	var nonce EnvelopeNonce
	if _, err := io.ReadFull(random, nonce[:]); err != nil {
		return nil, fmt.Errorf("envelope nonce: %w", err)
	}
	from, stamp := k.ID(), milliseconds(now)
	raw := make([]byte, 0, envelopePrefix+len(body))
	raw = append(raw, k.Public()...)
	raw = append(raw, stamp...)
	raw = append(raw, nonce[:]...)
	raw = append(raw, k.Sign(ident.PurposeEnvelope, from[:], to[:], stamp, nonce[:], body)...)
	return append(raw, body...), nil
}

// Open checks that the peer from sealed raw for the peer to, at a time near now. The caller must check by the time and
// the nonce that it has not opened the envelope before. The body shares the memory of raw.
func Open(raw []byte, from, to ident.PeerID, now time.Time) (Envelope, error) {
	if len(raw) < envelopePrefix || len(raw) > envelopePrefix+MaxEnvelopeBody {
		return Envelope{}, fmt.Errorf("envelope of %d bytes, want %d to %d",
			len(raw), envelopePrefix, envelopePrefix+MaxEnvelopeBody)
	}
	public, rest := raw[:ed25519.PublicKeySize], raw[ed25519.PublicKeySize:]
	stamp, rest := rest[:8], rest[8:]
	e := Envelope{From: from, Time: time.UnixMilli(int64(binary.BigEndian.Uint64(stamp)))}
	rest = rest[copy(e.Nonce[:], rest):]
	signature := rest[:ed25519.SignatureSize]
	e.Body = rest[ed25519.SignatureSize:]
	if ident.IDOf(public) != from ||
		!ident.Verify(public, ident.PurposeEnvelope, signature, from[:], to[:], stamp, e.Nonce[:], e.Body) {
		return Envelope{}, ErrEnvelopeSignature
	}
	if now.Sub(e.Time).Abs() > EnvelopeFresh {
		return Envelope{}, fmt.Errorf("%w: %s", ErrEnvelopeStale, now.Sub(e.Time).Round(time.Second))
	}
	return e, nil
}
