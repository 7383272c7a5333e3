package call

import "net/netip"

// Mapping is how a NAT chooses the public port of a socket (RFC 4787 section 4.1).
type Mapping string

// The mappings, as far as they matter here.
const (
	MappingUnknown     Mapping = ""
	MappingNone        Mapping = "none"                 // the address that others see is the machine's own
	MappingIndependent Mapping = "endpoint-independent" // one port, whoever the packets go to
	MappingDependent   Mapping = "endpoint-dependent"   // another port for each destination: "symmetric"
)

func (m Mapping) valid() bool {
	switch m {
	case MappingUnknown, MappingNone, MappingIndependent, MappingDependent:
		return true
	}
	return false
}

// NAT is what is known of the way from a peer's socket to the internet. The
// zero NAT is: nothing.
type NAT struct {
	Mapping    Mapping        `json:"mapping,omitempty"`
	UDPBlocked bool           `json:"udp_blocked,omitempty"` // no STUN server answered
	Public     netip.AddrPort `json:"public,omitzero"`       // as the first server to answer saw it
}

// Explain is a sentence for a person.
func (n NAT) Explain() string {
	switch {
	case n.UDPBlocked:
		return "No answer comes back over UDP: a firewall seems to block it."
	case n.Mapping == MappingNone && (n.Public.Addr().IsPrivate() || n.Public.Addr().IsLoopback()):
		return "No NAT stands between this machine and the rendezvous."
	case n.Mapping == MappingNone:
		return "This machine has a public address."
	case n.Mapping == MappingIndependent:
		return "This machine is behind a NAT that allows direct paths."
	case n.Mapping == MappingDependent:
		return "This machine is behind a NAT that uses another port for every destination, which hinders direct paths."
	}
	return "It is not known how this machine is connected to the internet."
}
