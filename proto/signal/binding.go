package signal

import (
	"crypto/tls"
	"fmt"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Binding identifies the connection or origin that a [Hello] is signed for, so that the Hello is not valid elsewhere.
// Signatures for the two kinds of binding have different purposes, so that neither can replace the other. No Hello is
// valid for the zero Binding.
type Binding struct {
	purpose ident.Purpose
	value   []byte
	hint    string // the likely reason why a signature is for another binding
}

// BoundToTLS returns the binding to one TLS 1.3 connection between a peer and a rendezvous. Its value is 32 bytes that
// only these two know (RFC 8446 section 7.5).
func BoundToTLS(c tls.ConnectionState) (Binding, error) {
	if c.Version < tls.VersionTLS13 {
		return Binding{}, fmt.Errorf("signalling needs TLS 1.3, the connection has %s", tls.VersionName(c.Version))
	}
	value, err := c.ExportKeyingMaterial("EXPORTER-easyfind-signal", nil, 32)
	if err != nil {
		return Binding{}, fmt.Errorf("exporter of the TLS connection: %w", err)
	}
	return Binding{ident.PurposeSignal, value, "does something between the two end TLS?"}, nil
}

// BoundToOrigin returns the binding to the rendezvous that agents reach at an origin. It is only for connections
// through a proxy that ends TLS and that the rendezvous trusts, because a proxy could pass the Hello on.
func BoundToOrigin(o ident.Origin) Binding {
	hint := "the rendezvous is reached at " + string(o) + ": does the join link say so too?"
	return Binding{ident.PurposeSignalOrigin, []byte(o), hint}
}
