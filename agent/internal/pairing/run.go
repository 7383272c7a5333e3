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

// role is in the associated data: a client pairs with a host only.
type role string

const (
	roleClient role = "client"
	roleHost   role = "host"
)

// data is the associated data of an end: protocol, role and key. Both before
// the key are of fixed length given the role, and no role is another's prefix.
func data(r role, key []byte) []byte {
	return append([]byte("easyfind-pair/1 "+string(r)+" "), key...)
}

// start begins one end's CPace run.
func start(random io.Reader, address ident.Address, pin ident.PIN) (*cpace.Party, error) {
	return cpace.New(cpace.Input{Password: []byte(pin), Channel: []byte("easyfind " + address)}, random)
}

// seal encrypts the card of role r for the other end. Every key seals one card
// only, so that the nonce may be fixed.
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

// open decrypts the card of the end whose role is r.
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

// peer puts together what a proved end says of itself.
func peer(key []byte, c card) Peer {
	pub := ed25519.PublicKey(key)
	return Peer{ID: ident.IDOf(pub), PublicKey: pub, Name: c.Name, Addresses: c.Addresses}
}
