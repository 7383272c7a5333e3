// Package ident defines the identity of a peer: its key, the identifier derived
// from the key, signatures, and TLS configurations that authenticate keys. It also
// defines the EasyFind addresses and PINs that people type.
//
// There are no accounts. A peer is an Ed25519 key. Its [PeerID] is the SHA-256 of
// the public key, written in base32 with check characters. The check characters
// distinguish a typing error from an unknown peer.
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

// PeerID identifies a peer. It is the SHA-256 of the peer's Ed25519 public key.
type PeerID [sha256.Size]byte

// encoding is base32 without padding (RFC 4648).
var encoding = base32.StdEncoding.WithPadding(base32.NoPadding)

const (
	idChars   = 52                        // base32 characters of 32 bytes
	idBlock   = 13                        // characters before each check character
	idGroup   = 7                         // characters between two dashes
	idWritten = idChars + idChars/idBlock // characters without dashes: 56
)

// IDOf returns the PeerID of a public key.
func IDOf(pub ed25519.PublicKey) PeerID { return sha256.Sum256(pub) }

// String returns the ID as eight groups of seven characters, separated by dashes.
// Every 14th character is a check character.
func (id PeerID) String() string {
	plain := encoding.EncodeToString(id[:])
	var checked strings.Builder
	for i := 0; i < idChars; i += idBlock {
		checked.WriteString(plain[i : i+idBlock])
		checked.WriteByte(checkChar(plain[i : i+idBlock]))
	}
	return dashed(checked.String(), idGroup)
}

// Short returns the first seven characters of the ID, for people and logs. It is
// not unique.
func (id PeerID) Short() string { return id.String()[:idGroup] }

// IsZero reports whether the ID is the zero value.
func (id PeerID) IsZero() bool { return id == PeerID{} }

// Compare compares IDs bytewise and returns -1, 0 or +1. If two peers make
// conflicting requests at the same time, the peer with the lower ID wins.
func (id PeerID) Compare(other PeerID) int {
	return strings.Compare(string(id[:]), string(other[:]))
}

// MarshalText implements [encoding.TextMarshaler]. It returns the form of String.
func (id PeerID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]. See ParsePeerID.
func (id *PeerID) UnmarshalText(b []byte) error {
	got, err := ParsePeerID(string(b))
	if err == nil {
		*id = got
	}
	return err
}

// ErrPeerID is returned for a string that is not a PeerID.
var ErrPeerID = errors.New("not a PeerID")

// ParsePeerID parses an ID in upper or lower case, with or without dashes and
// spaces. Errors wrap ErrPeerID.
func ParsePeerID(s string) (PeerID, error) {
	var id PeerID
	checked, err := normalize(s, idWritten)
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
		return PeerID{}, fmt.Errorf("%w: unused bits of the last character are set", ErrPeerID)
	}
	return id, nil
}

// Key is the private key of a peer. The zero Key is invalid.
type Key struct{ private ed25519.PrivateKey }

// NewKey returns a new key. It reads 32 bytes from random.
func NewKey(random io.Reader) (Key, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return Key{}, fmt.Errorf("new key: %w", err)
	}
	return KeyFromSeed(seed)
}

// KeyFromSeed returns the key with that seed of 32 bytes (RFC 8032, 5.1.5).
func KeyFromSeed(seed []byte) (Key, error) {
	if len(seed) != ed25519.SeedSize {
		return Key{}, fmt.Errorf("key seed: %d bytes, want %d", len(seed), ed25519.SeedSize)
	}
	return Key{ed25519.NewKeyFromSeed(seed)}, nil
}

// Seed returns the seed of the key, 32 bytes, for [KeyFromSeed]. It is secret.
func (k Key) Seed() []byte { return k.private.Seed() }

// Public returns the public key.
func (k Key) Public() ed25519.PublicKey { return k.private.Public().(ed25519.PublicKey) }

// ID returns the PeerID of the key.
func (k Key) ID() PeerID { return IDOf(k.Public()) }

// Purpose is the purpose of a signature. A signature for one purpose is not valid
// for another.
type Purpose string

// The purposes of signatures.
const (
	PurposeRegister Purpose = "register" // a registration at a rendezvous
	PurposeSignal   Purpose = "signal"   // the opening of a signalling connection

	// The same, if a reverse proxy that the rendezvous trusts ends TLS. The signed
	// parts then contain the rendezvous's Origin instead of a value derived from
	// the TLS connection.
	PurposeRegisterOrigin Purpose = "register-origin"
	PurposeSignalOrigin   Purpose = "signal-origin"

	PurposeEnvelope Purpose = "envelope" // a signalling message to another peer
)

// Sign returns the Ed25519 signature of the purpose and the parts.
func (k Key) Sign(p Purpose, parts ...[]byte) []byte {
	return ed25519.Sign(k.private, statement(p, parts))
}

// Verify reports whether sig is a signature of the purpose and the parts by the
// key pub.
func Verify(pub ed25519.PublicKey, p Purpose, sig []byte, parts ...[]byte) bool {
	return len(pub) == ed25519.PublicKeySize && ed25519.Verify(pub, statement(p, parts), sig)
}

// statement returns the bytes to sign:
//
//	"easyfind/1 " │ purpose │ 0 │ for each part: length 4, big-endian │ part
//
// The lengths make the encoding unambiguous.
func statement(p Purpose, parts [][]byte) []byte {
	b := append([]byte("easyfind/1 "), p...)
	b = append(b, 0)
	for _, part := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	return b
}

// Equal reports whether two secrets are equal. It takes constant time for secrets
// of equal length.
func Equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
