package path

import "github.com/easyfind-usb/easyfind/proto/call"

// Local preferences of the candidates of one type (RFC 8445 section 5.1.2.1). An
// allocation over UDP is preferred to one over TCP, and that to one over TLS.
const (
	preferFirst    = 65535
	preferRelayTCP = 2
	preferRelayTLS = 1
)

// priority returns a candidate's priority (RFC 8445 section 5.1.2.1).
func priority(t call.CandidateType, preference uint32) uint32 {
	kind := map[call.CandidateType]uint32{
		call.HostCandidate: 126, call.ReflexiveCandidate: 100, call.RelayCandidate: 0,
	}[t]
	const component = 1
	return kind<<24 | preference<<8 | (256 - component)
}

func relayPriority(v call.Via) uint32 {
	switch v {
	case call.ViaTCP:
		return priority(call.RelayCandidate, preferRelayTCP)
	case call.ViaTLS:
		return priority(call.RelayCandidate, preferRelayTLS)
	}
	return priority(call.RelayCandidate, preferFirst)
}
