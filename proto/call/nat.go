package call

import "net/netip"

// Mapping is the rule by which a NAT chooses the public address and port of a socket
// (RFC 4787 section 4.1).
type Mapping string

// The mappings. RFC 4787 distinguishes two kinds of MappingDependent.
const (
	MappingUnknown     Mapping = ""
	MappingNone        Mapping = "none"                 // no NAT: others see the machine's own address
	MappingIndependent Mapping = "endpoint-independent" // the same port for all destinations
	MappingDependent   Mapping = "endpoint-dependent"   // another port for each destination; also called symmetric
)

func (m Mapping) valid() bool {
	switch m {
	case MappingUnknown, MappingNone, MappingIndependent, MappingDependent:
		return true
	}
	return false
}

// NAT describes the NAT or firewall between a peer's socket and the internet. The
// zero value means that nothing is known.
type NAT struct {
	Mapping    Mapping        `json:"mapping,omitempty"`
	UDPBlocked bool           `json:"udp_blocked,omitempty"` // no STUN server responded
	Public     netip.AddrPort `json:"public,omitzero"`       // as seen by the first server that responded
}

// Explain returns a sentence for people.
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
