// Package call defines the messages by which two agents arrange a link. The agents
// exchange them through the rendezvous, in signed envelopes:
//
//	caller                                       called
//	│ offer{call, description, direct, upgrade} ──►│
//	│◄────────── answer{call, description, direct} │  or busy
//	│ candidate{call} ────────────────────────────►│  one for each that is found
//	│◄──────────────────────────── candidate{call} │
//	│        ... ICE checks both ways ...          │
//	│ QUIC to the path that ICE selected ─────────►│
//
// The caller is the controlling agent of ICE (RFC 8445) and dials. If both agents
// call at once, the call of the peer with the lower ID continues and the other one
// is dropped.
//
// A description holds the credentials of the checks, the addresses of the machine
// and the known properties of its NAT. Addresses that are found later, a reflexive
// address or an allocation at a relay, follow as candidates.
//
// An agent that sends "dial" looks for a link over TCP in addition to one over UDP that
// carries little. It dials the direct addresses of the peer, and the peer those in the
// message. There is no answer. Agents send it to peers with tunnel.FeatureChooses only.
//
// An upgrade is a call for a direct path while a relayed one is in use. The agents
// also try the direct addresses, with TLS over TCP.
package call
