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

// No other file turns the usual certificate checks off. The functions here replace
// them by a stricter one: the key must be the expected one.

// Certificate returns a self-signed certificate for the key, for use in TLS. Only
// the key in it is checked. All other fields are constant.
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

// ErrUntrusted is returned by a TLS handshake if the other side does not have the
// expected key.
var ErrUntrusted = errors.New("the key of the other side is not the expected one")

// MutualTLS returns the TLS configuration for a connection between two peers. It is
// the same for both sides: TLS 1.3, certificates of Ed25519 keys on both sides, no
// session tickets. The handshake fails with ErrUntrusted if trust returns an error
// for the PeerID of the other side.
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

// PeerOf returns the PeerID of the other side of a TLS connection. Errors wrap
// ErrUntrusted.
func PeerOf(s tls.ConnectionState) (PeerID, error) {
	if len(s.PeerCertificates) == 0 {
		return PeerID{}, fmt.Errorf("%w: it sent no certificate", ErrUntrusted)
	}
	pub, ok := s.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok {
		return PeerID{}, fmt.Errorf("%w: it is not an Ed25519 key", ErrUntrusted)
	}
	return IDOf(pub), nil
}

// Pin is the SHA-256 of the public key (SubjectPublicKeyInfo) in the certificate of
// a rendezvous. It authenticates a server without a domain.
type Pin [sha256.Size]byte

// PinOf returns the pin of a certificate.
func PinOf(c *x509.Certificate) Pin { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// String returns the pin in base64url without padding, 43 characters.
func (p Pin) String() string { return base64.RawURLEncoding.EncodeToString(p[:]) }

// ParsePin parses the form that [Pin.String] returns.
func ParsePin(s string) (Pin, error) {
	var p Pin
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(raw) != len(p) {
		return p, errors.New("not a certificate pin: want 43 characters of base64url")
	}
	copy(p[:], raw)
	return p, nil
}

// PinnedTLS returns the TLS configuration of a client. The handshake fails with
// ErrUntrusted unless the server's certificate has that pin.
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
