package api

import (
	"crypto/ed25519"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Registration is a peer's proof that it holds its key, bound to where it is
// sent, so that no one in the middle can pass it on to another rendezvous.
//
// Bound says that the signature covers the exporter of the TLS connection that
// carries it (RFC 9266). Origin, in its place, says that the signature covers
// the address of the rendezvous as the peer dialled it: that is for a rendezvous
// behind a reverse proxy that ends TLS, and believed only if such a proxy brings
// it. The two signatures have different purposes.
type Registration struct {
	Challenge []byte    `json:"challenge" minLength:"4" maxLength:"88" doc:"as it came from /v1/challenges" example:"9Zt4qB1W3n0pXkVdU7hQmgAAAABl4fzAE8tQ5m4aY3P0b2lSg0JkKw=="`
	PublicKey []byte    `json:"public_key" minLength:"44" maxLength:"44" doc:"Ed25519, 32 bytes" example:"A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="`
	Name      string    `json:"name" minLength:"1" maxLength:"64" doc:"printable characters" example:"Workshop PC"`
	Invite    string    `json:"invite,omitempty" maxLength:"64" doc:"not needed by a known or an approved peer, nor where the server is open" example:"Zk1TqYcVhAuN2d0rG8Xw3s"`
	Bound     bool      `json:"bound,omitempty" doc:"the signature covers the TLS exporter of this connection" example:"true"`
	Origin    string    `json:"origin,omitempty" maxLength:"256" doc:"https://host:port; the signature covers it in place of the exporter" example:"https://rendezvous.example.org:443"`
	Expires   time.Time `json:"expires" doc:"the signature is void after this; whole seconds, at most the challenge's" example:"2026-03-01T12:02:00Z"`
	Signature []byte    `json:"signature" minLength:"88" maxLength:"88" doc:"Ed25519, 64 bytes" example:"hJmNaNY5KZ1MzUOB3kbE3fHDjYRIk7SM4LGSZQzBNXvtUn3u4vqnPRsn7EhYMqnJzAbbJhnNDwSDFwFkRyEGCw=="`
}

// Sign fills in the key and the signature. The exporter is that of the
// connection which will carry the registration, or nil for an unbound one.
func (r *Registration) Sign(key ident.Key, exporter []byte) {
	r.PublicKey, r.Bound, r.Origin = key.Public(), exporter != nil, ""
	r.Signature = key.Sign(ident.PurposeRegister, r.statement(exporter)...)
}

// SignForOrigin fills in the key and a signature for the rendezvous that was
// dialled at an origin.
func (r *Registration) SignForOrigin(key ident.Key, o ident.Origin) {
	r.PublicKey, r.Bound, r.Origin = key.Public(), false, string(o)
	r.Signature = key.Sign(ident.PurposeRegisterOrigin, r.statement([]byte(o))...)
}

// Verify reports whether the key signed the registration for the connection
// with this exporter, which an unbound registration leaves aside. One that is
// for an origin never verifies here.
func (r *Registration) Verify(exporter []byte) bool {
	if !r.Bound {
		exporter = nil
	} else if len(exporter) != ExporterBytes {
		return false
	}
	return r.Origin == "" && ident.Verify(ed25519.PublicKey(r.PublicKey), ident.PurposeRegister, r.Signature, r.statement(exporter)...)
}

// VerifyForOrigin reports whether the key signed the registration for the
// rendezvous at an origin, and for nothing else.
func (r *Registration) VerifyForOrigin(o ident.Origin) bool {
	return !r.Bound && o != "" && r.Origin == string(o) &&
		ident.Verify(ed25519.PublicKey(r.PublicKey), ident.PurposeRegisterOrigin, r.Signature, r.statement([]byte(o))...)
}

// statement is what is signed: challenge, public key, name, the expiry in
// seconds since 1970 as 8 bytes big endian, the exporter, the origin or nothing.
func (r *Registration) statement(bound []byte) [][]byte {
	expires := binary.BigEndian.AppendUint64(nil, uint64(r.Expires.Unix()))
	return [][]byte{r.Challenge, r.PublicKey, []byte(r.Name), expires, bound}
}

// ErrNoExporter is the error of a connection to which nothing can be bound.
var ErrNoExporter = errors.New("the connection is not TLS 1.3")

// Exporter returns the value that binds a statement to a TLS 1.3 connection
// (RFC 9266 section 4.2, tls-exporter).
func Exporter(s *tls.ConnectionState) ([]byte, error) {
	if s == nil || s.Version < tls.VersionTLS13 {
		return nil, ErrNoExporter
	}
	value, err := s.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, ExporterBytes)
	if err != nil {
		return nil, fmt.Errorf("exporter of the TLS connection: %w", err)
	}
	return value, nil
}
