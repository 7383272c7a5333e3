// Package ident is what a peer is: its key, the identifier derived from the
// key, the short addresses people type, and the signatures that bind a
// statement to the key.
//
// There are no accounts. A peer is an Ed25519 key; its [PeerID] is the SHA-256
// of the public key, written in base32 with check characters so that a typing
// error is told from an unknown peer.
package ident

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// PeerID names a peer: the SHA-256 of its Ed25519 public key (32 bytes).
type PeerID [sha256.Size]byte

// encoding is RFC 4648 base32 without padding: no 0, 1 or 8 to confuse.
var encoding = base32.StdEncoding.WithPadding(base32.NoPadding)

const (
	idChars   = 52 // base32 characters of 32 bytes
	idBlock   = 13 // characters before each check character
	idGroup   = 7  // characters between two dashes
	idWritten = idChars + idChars/idBlock
)

// IDOf returns the PeerID of a public key.
func IDOf(pub ed25519.PublicKey) PeerID { return sha256.Sum256(pub) }

// String writes the ID as eight dashed groups of seven characters; the last
// character of every 14 is a check character.
func (id PeerID) String() string {
	plain := encoding.EncodeToString(id[:])
	var checked strings.Builder
	for i := 0; i < idChars; i += idBlock {
		checked.WriteString(plain[i : i+idBlock])
		checked.WriteByte(checkChar(plain[i : i+idBlock]))
	}
	return dashed(checked.String(), idGroup)
}

// Short is the first group of the ID, for people and logs; it is not unique.
func (id PeerID) Short() string { return id.String()[:idGroup] }

// IsZero reports whether the ID was never set.
func (id PeerID) IsZero() bool { return id == PeerID{} }

// Compare orders IDs bytewise. The lower ID of two peers wins where both ask
// for the same thing at once.
func (id PeerID) Compare(other PeerID) int {
	return strings.Compare(string(id[:]), string(other[:]))
}

// MarshalText writes the dashed form.
func (id PeerID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what [ParsePeerID] reads.
func (id *PeerID) UnmarshalText(b []byte) error {
	got, err := ParsePeerID(string(b))
	if err == nil {
		*id = got
	}
	return err
}

// ErrPeerID is the error of every string that is no PeerID.
var ErrPeerID = errors.New("not a PeerID")

// ParsePeerID reads an ID with or without dashes and spaces, in any case.
func ParsePeerID(s string) (PeerID, error) {
	var id PeerID
	checked, err := clean(s, idWritten)
	if err != nil {
		return id, fmt.Errorf("%w: %w", ErrPeerID, err)
	}
	var plain strings.Builder
	for i := 0; i < idWritten; i += idBlock + 1 {
		block := checked[i : i+idBlock]
		if checkChar(block) != checked[i+idBlock] {
			return id, fmt.Errorf("%w: a character near %q is mistyped", ErrPeerID, block)
		}
		plain.WriteString(block)
	}
	raw, err := encoding.DecodeString(plain.String())
	if err != nil {
		return id, fmt.Errorf("%w: %w", ErrPeerID, err)
	}
	copy(id[:], raw)
	if id.String() != dashed(checked, idGroup) {
		return PeerID{}, fmt.Errorf("%w: stray bits in the last character", ErrPeerID)
	}
	return id, nil
}

// Key is a peer's private key. The zero Key signs nothing.
type Key struct{ private ed25519.PrivateKey }

// NewKey makes a key from 32 bytes of random.
func NewKey(random io.Reader) (Key, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return Key{}, fmt.Errorf("new key: %w", err)
	}
	return KeyFromSeed(seed)
}

// KeyFromSeed restores a key from its 32-byte seed (RFC 8032 section 5.1.5).
func KeyFromSeed(seed []byte) (Key, error) {
	if len(seed) != ed25519.SeedSize {
		return Key{}, fmt.Errorf("key seed: %d bytes, want %d", len(seed), ed25519.SeedSize)
	}
	return Key{ed25519.NewKeyFromSeed(seed)}, nil
}

// Seed returns the 32 bytes that [KeyFromSeed] takes. They are the secret.
func (k Key) Seed() []byte { return k.private.Seed() }

// Public returns the public key.
func (k Key) Public() ed25519.PublicKey { return k.private.Public().(ed25519.PublicKey) }

// ID returns the peer that the key is.
func (k Key) ID() PeerID { return IDOf(k.Public()) }

// Purpose separates signatures: one made for one purpose verifies for no other.
type Purpose string

// The purposes for which a peer's key signs.
const (
	PurposeRegister Purpose = "register" // a registration at a rendezvous
	PurposeSignal   Purpose = "signal"   // opening a signalling connection

	// The same two where a proxy that the rendezvous trusts ends TLS: what is
	// signed names the rendezvous's Origin in place of the TLS connection.
	PurposeRegisterOrigin Purpose = "register-origin"
	PurposeSignalOrigin   Purpose = "signal-origin"

	PurposeEnvelope Purpose = "envelope" // a signalling message to another peer
)

// Sign signs the parts, in order, for a purpose.
func (k Key) Sign(p Purpose, parts ...[]byte) []byte {
	return ed25519.Sign(k.private, statement(p, parts))
}

// Verify reports whether sig is the signature of the parts, for the purpose,
// by the key pub.
func Verify(pub ed25519.PublicKey, p Purpose, sig []byte, parts ...[]byte) bool {
	return len(pub) == ed25519.PublicKeySize && ed25519.Verify(pub, statement(p, parts), sig)
}

// statement is what is signed: the purpose, then every part behind its length,
// so that no two lists of parts give the same bytes.
func statement(p Purpose, parts [][]byte) []byte {
	b := append([]byte("easyfind/1 "), p...)
	b = append(b, 0)
	for _, part := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	return b
}

// Equal compares two secrets in constant time.
func Equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
