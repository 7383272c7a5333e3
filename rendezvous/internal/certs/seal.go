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

// MinKey is how long a key for the database must be, in bytes.
const MinKey = 32

// The first byte of a kept value says what follows.
const (
	valuePlain  = 'p' // the value
	valueSealed = 's' // a nonce of 12 bytes, and the value by AES-256-GCM with its name as additional data
)

// Errors of values that cannot be read.
var (
	errNoKey    = errors.New("they are encrypted: set --database-key to the file that the other instances use")
	errOtherKey = errors.New("they are encrypted with another key: set --database-key to the file that the other instances use")
	errNoValue  = errors.New("there is something that this software has not written")
)

// seal encrypts what stands in the database. A private key cannot be kept as a
// digest, as tokens are, so the choice is between the plain key and one more
// secret to keep. SQLite's file stands beside the self-signed key and is closed to
// other users in the same way; encryption would add nothing there but a second file
// to lose. A Postgres database has its dumps, replicas and administrators: with
// --database-key none of them alone can act as the server.
type seal struct{ aead cipher.AEAD } // nil: nothing is encrypted

// newSeal derives the encryption from a key; nil is none.
func newSeal(key []byte) (seal, error) {
	if key == nil {
		return seal{}, nil
	}
	if len(key) < MinKey {
		return seal{}, fmt.Errorf("--database-key: %d bytes are too few: want %d random bytes or more", len(key), MinKey)
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

// close makes of a value what is kept under a name.
func (s seal) close(name string, value []byte) []byte {
	if s.aead == nil {
		return append([]byte{valuePlain}, value...)
	}
	out := make([]byte, 1+s.aead.NonceSize(), 1+s.aead.NonceSize()+len(value)+s.aead.Overhead())
	out[0] = valueSealed
	rand.Read(out[1:]) // never fails: crypto/rand ends the program instead
	return s.aead.Seal(out, out[1:], value, []byte(name))
}

// open is the reverse, and reports whether the value was encrypted. With a key it
// takes what is not too: it was written before there was one.
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
