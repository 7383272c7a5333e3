// Package call is what two agents tell each other through the rendezvous, in
// signed envelopes, to arrange a link:
//
//	caller                                       called
//	│ offer{call, description, direct, upgrade} ──►│
//	│◄────────── answer{call, description, direct} │  or busy
//	│ candidate{call} ────────────────────────────►│  as they are found
//	│◄──────────────────────────── candidate{call} │
//	│        ... ICE checks both ways ...          │
//	│ QUIC to the path that ICE selected ─────────►│
//
// The caller controls ICE (RFC 8445) and dials. Where both call at once, the
// call of the peer with the lower ID goes on and the other is dropped. A
// description holds the credentials of the checks, the addresses of the machine
// itself and what is known of its NAT; what is found later, a reflexive address
// or an allocation at a relay, follows as a candidate. An upgrade is a call for a
// direct path while a relayed one is in use. Direct addresses are tried besides,
// by TLS over TCP.
package call
