package certs

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

// MinKey is the minimum length of a key for the database, in bytes.
const MinKey = 32

// The first byte of a stored value is its kind.
const (
	valuePlain  = 'p' // followed by the value
	valueSealed = 's' // followed by a 12-byte nonce and the AES-256-GCM ciphertext; the name is the additional data
)

// Errors of values that cannot be read.
var (
	errNoKey    = errors.New("they are encrypted: set --database-key to the file that the other instances use")
	errOtherKey = errors.New("they are encrypted with another key: " +
		"set --database-key to the file that the other instances use")
	errNoValue = errors.New("the value was not written by this software")
)

// seal encrypts the values in the database. A private key cannot be stored as a
// digest, as tokens are: it is stored either in plain text or under one more key
// that the operator must keep. An SQLite file lies next to the key of the
// self-signed certificate, and other users cannot read either of them. Encryption
// would add only a second file to lose. A Postgres database has dumps, replicas and
// administrators. With --database-key none of these alone is enough to act as the
// server.
type seal struct{ aead cipher.AEAD } // nil: values are stored in plain text

// newSeal derives the encryption from a key. Without a key, nothing is encrypted.
func newSeal(key []byte) (seal, error) {
	if key == nil {
		return seal{}, nil
	}
	if len(key) < MinKey {
		return seal{}, fmt.Errorf("--database-key: %d bytes are too few: want %d random bytes", len(key), MinKey)
	}
	derived, err := hkdf.Key(sha256.New, key, nil, "easyfind certificates in the database", 32)
	if err != nil {
		return seal{}, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return seal{}, err
	}
	aead, err := cipher.NewGCM(block)
	return seal{aead}, err
}

func (s seal) keyed() bool { return s.aead != nil }

// close returns what to store for a value under a name.
func (s seal) close(name string, value []byte) []byte {
	if s.aead == nil {
		return append([]byte{valuePlain}, value...)
	}
	out := make([]byte, 1+s.aead.NonceSize(), 1+s.aead.NonceSize()+len(value)+s.aead.Overhead())
	out[0] = valueSealed
	rand.Read(out[1:]) // never fails: crypto/rand aborts the program instead
	return s.aead.Seal(out, out[1:], value, []byte(name))
}

// open reverses close, and reports whether the value was encrypted. It also
// accepts plain values if there is a key: they were stored before there was one.
func (s seal) open(name string, kept []byte) (value []byte, sealed bool, err error) {
	switch {
	case len(kept) == 0:
		return nil, false, fmt.Errorf("%s: %w", name, errNoValue)
	case kept[0] == valuePlain:
		return kept[1:], false, nil
	case kept[0] != valueSealed:
		return nil, false, fmt.Errorf("%s: %w", name, errNoValue)
	case s.aead == nil:
		return nil, true, errNoKey
	case len(kept) < 1+s.aead.NonceSize():
		return nil, true, fmt.Errorf("%s: %w", name, errNoValue)
	}
	nonce, sealedValue := kept[1:1+s.aead.NonceSize()], kept[1+s.aead.NonceSize():]
	value, err = s.aead.Open(nil, nonce, sealedValue, []byte(name))
	if err != nil {
		return nil, true, errOtherKey
	}
	return value, true, nil
}
