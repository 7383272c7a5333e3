package signal

import (
	"crypto/tls"
	"fmt"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Binding is what a [Hello] is signed for, so that it is worth nothing anywhere
// else. Signatures for the two kinds have different purposes: neither is ever
// taken for the other. The zero Binding verifies nothing.
type Binding struct {
	purpose ident.Purpose
	value   []byte
	hint    string // what may be the matter where a signature is for another binding
}

// BoundToTLS binds to one TLS 1.3 connection, whose ends are the peer and the
// rendezvous: the value is 32 bytes that only the two know (RFC 8446 section
// 7.5).
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

// BoundToOrigin binds to the rendezvous that agents reach at an origin. It is
// for connections through a proxy that ends TLS and that the rendezvous trusts,
// and for no others: whoever ends TLS could pass the Hello on.
func BoundToOrigin(o ident.Origin) Binding {
	return Binding{ident.PurposeSignalOrigin, []byte(o), "the rendezvous is reached at " + string(o) + ": does the join link say so too?"}
}
