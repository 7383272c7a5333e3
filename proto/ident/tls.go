package ident

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// This is the one file that turns the web's certificate checks off, and it
// puts a stricter one in their place: the key must be the expected one.

// Certificate makes the self-signed certificate that carries the key in TLS.
// Only its key means anything; its dates are fixed and nobody checks them.
func (k Key) Certificate() (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280 4.1.2.5: no expiry
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k.private)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate of the peer's key: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k.private}, nil
}

// ErrUntrusted is the error of a handshake with a key that was not expected.
var ErrUntrusted = errors.New("the other end's key is not the expected one")

// MutualTLS is the TLS configuration, for either end, of a connection between
// two peers: TLS 1.3, both certificates made from Ed25519 keys, no session
// tickets, and trust asked whether the other end's PeerID is wanted. A nil
// error from trust accepts.
func MutualTLS(k Key, alpn string, trust func(PeerID) error) (*tls.Config, error) {
	cert, err := k.Certificate()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{cert},
		NextProtos:             []string{alpn},
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, // replaced by VerifyConnection
		SessionTicketsDisabled: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			id, err := PeerOf(s)
			if err != nil {
				return err
			}
			if err := trust(id); err != nil {
				return fmt.Errorf("%w: %s: %w", ErrUntrusted, id.Short(), err)
			}
			return nil
		},
	}, nil
}

// PeerOf returns the peer at the other end of a TLS connection.
func PeerOf(s tls.ConnectionState) (PeerID, error) {
	if len(s.PeerCertificates) == 0 {
		return PeerID{}, fmt.Errorf("%w: it sent no certificate", ErrUntrusted)
	}
	pub, ok := s.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok {
		return PeerID{}, fmt.Errorf("%w: it is no Ed25519 key", ErrUntrusted)
	}
	return IDOf(pub), nil
}

// Pin is the SHA-256 of a rendezvous certificate's public key
// (SubjectPublicKeyInfo), by which a server without a domain is recognised.
type Pin [sha256.Size]byte

// PinOf returns the pin of a certificate.
func PinOf(c *x509.Certificate) Pin { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// String writes the pin as unpadded base64url.
func (p Pin) String() string { return base64.RawURLEncoding.EncodeToString(p[:]) }

// ParsePin reads what [Pin.String] writes.
func ParsePin(s string) (Pin, error) {
	var p Pin
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(raw) != len(p) {
		return p, errors.New("not a certificate pin: want 43 characters of base64url")
	}
	copy(p[:], raw)
	return p, nil
}

// PinnedTLS is a client's TLS configuration towards a server with that pin.
func PinnedTLS(pin Pin) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // replaced by VerifyConnection
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || PinOf(s.PeerCertificates[0]) != pin {
				return fmt.Errorf("%w: the rendezvous's certificate does not have the pinned key", ErrUntrusted)
			}
			return nil
		},
	}
}
