package pairing

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha512"
	"fmt"
	"io"

	"github.com/easyfind-usb/easyfind/agent/internal/pairing/cpace"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// role is a peer's role in a pairing. It is part of the associated data, so that a
// client can pair only with a host.
type role string

const (
	roleClient role = "client"
	roleHost   role = "host"
)

// associatedData returns the associated data of a peer: protocol, role and key.
// The encoding is unambiguous, because no role is a prefix of another.
func associatedData(r role, key []byte) []byte {
	return append([]byte("easyfind-pair/1 "+string(r)+" "), key...)
}

// start starts a CPace run.
func start(random io.Reader, address ident.Address, pin ident.PIN) (*cpace.Party, error) {
	return cpace.New(cpace.Input{Password: []byte(pin), Channel: []byte("easyfind " + address)}, random)
}

// seal encrypts the card of the peer with role r with AES-256-GCM. The nonce is
// constant, because each key encrypts only one card.
func seal(k cpace.Key, r role, c card) ([]byte, error) {
	aead, err := cardCipher(k, r)
	if err != nil {
		return nil, err
	}
	plain, err := encode(c)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, make([]byte, aead.NonceSize()), plain, nil), nil
}

// open decrypts the card of the peer with role r.
func open(k cpace.Key, r role, sealed []byte) (card, error) {
	aead, err := cardCipher(k, r)
	if err != nil {
		return card{}, err
	}
	plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), sealed, nil)
	if err != nil {
		return card{}, fmt.Errorf("%w: its card cannot be decrypted", errMessage)
	}
	return decode[card](plain)
}

// cardCipher returns the cipher for the card of the peer with role r.
func cardCipher(k cpace.Key, r role) (cipher.AEAD, error) {
	const keySize = 32 // AES-256
	secret, err := hkdf.Key(sha512.New, k.Bytes(), nil, "easyfind-pair/1 card "+string(r), keySize)
	if err != nil {
		return nil, fmt.Errorf("card key: %w", err)
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, fmt.Errorf("card cipher: %w", err)
	}
	return cipher.NewGCM(block)
}

// newPeer returns the peer with that public key and card.
func newPeer(key []byte, c card) Peer {
	pub := ed25519.PublicKey(key)
	return Peer{ID: ident.IDOf(pub), PublicKey: pub, Name: c.Name, Addresses: c.Addresses}
}
