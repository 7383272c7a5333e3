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

// Registration is a peer's proof that it holds its key. The proof is bound to the
// connection or to the server, so that no third party can use it at another rendezvous.
//
// Bound means that the signature covers the exporter of the TLS connection that carries it
// (RFC 9266). If Origin is set instead, the signature covers the address of the rendezvous
// as the peer dialled it. This is for a rendezvous behind a reverse proxy that ends TLS;
// the server accepts it only from such a proxy. The two signatures have different
// purposes.
type Registration struct {
	Challenge []byte    `json:"challenge" minLength:"4" maxLength:"88" doc:"the value from /v1/challenges"`
	PublicKey []byte    `json:"public_key" minLength:"44" maxLength:"44" doc:"Ed25519, 32 bytes"`
	Name      string    `json:"name" minLength:"1" maxLength:"64" doc:"printable characters"`
	Invite    string    `json:"invite,omitempty" maxLength:"64" doc:"for a new, unapproved peer of a closed server"`
	Bound     bool      `json:"bound,omitempty" doc:"the signature covers the TLS exporter of this connection"`
	Origin    string    `json:"origin,omitempty" maxLength:"256" doc:"https://host:port; signed, not the exporter"`
	Expires   time.Time `json:"expires" doc:"the signature's end in whole seconds, not after the challenge's"`
	Signature []byte    `json:"signature" minLength:"88" maxLength:"88" doc:"Ed25519, 64 bytes"`
}

// Sign sets the key and the signature. exporter is that of the connection which will
// carry the registration, or nil for an unbound registration.
func (r *Registration) Sign(key ident.Key, exporter []byte) {
	r.PublicKey, r.Bound, r.Origin = key.Public(), exporter != nil, ""
	r.Signature = key.Sign(ident.PurposeRegister, r.statement(exporter)...)
}

// SignForOrigin sets the key and a signature for the rendezvous that was dialled at o.
func (r *Registration) SignForOrigin(key ident.Key, o ident.Origin) {
	r.PublicKey, r.Bound, r.Origin = key.Public(), false, string(o)
	r.Signature = key.Sign(ident.PurposeRegisterOrigin, r.statement([]byte(o))...)
}

// Verify reports whether the key signed the registration for the connection with this
// exporter. It ignores the exporter if the registration is unbound, and returns false if
// the registration is for an origin.
func (r *Registration) Verify(exporter []byte) bool {
	if !r.Bound {
		exporter = nil
	} else if len(exporter) != ExporterBytes {
		return false
	}
	return r.Origin == "" && r.verify(ident.PurposeRegister, exporter)
}

// VerifyForOrigin reports whether the key signed the registration for the rendezvous at
// o, and for nothing else.
func (r *Registration) VerifyForOrigin(o ident.Origin) bool {
	return !r.Bound && o != "" && r.Origin == string(o) && r.verify(ident.PurposeRegisterOrigin, []byte(o))
}

func (r *Registration) verify(purpose ident.Purpose, bound []byte) bool {
	return ident.Verify(ed25519.PublicKey(r.PublicKey), purpose, r.Signature, r.statement(bound)...)
}

// statement returns the parts that are signed: the challenge, the public key, the name,
// the expiry in seconds since 1970 as 8 bytes in big-endian order, and the exporter or the
// origin, if there is one.
func (r *Registration) statement(bound []byte) [][]byte {
	expires := binary.BigEndian.AppendUint64(nil, uint64(r.Expires.Unix()))
	return [][]byte{r.Challenge, r.PublicKey, []byte(r.Name), expires, bound}
}

// ErrNoExporter is the error of a connection that is not TLS 1.3, so that no signature
// can be bound to it.
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
