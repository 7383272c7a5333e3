// Package relay is the STUN and TURN server of the rendezvous (RFC 8489, RFC 5766), over UDP, TCP and, for connections
// that are handed to it, TLS.
//
// The TURN server of pion/turn is the control plane: it authenticates requests, allocates, permits, binds channels and
// decides when they expire. pion/stun reads and writes STUN messages. The rest is ours:
//
//   - The data plane. pion/turn needs two system calls and several copies for each packet, and package datagrams moves
//     up to 64 packets with one call.
//   - The policy. pion/turn relays to any address for any client that has a password.
//   - A layer in front of pion/turn. It checks the length of every attribute, because pion/stun reads some attributes
//     without a check. It answers Binding requests, because pion/turn does not know RFC 5780. It bounds lifetimes, and
//     it gives refusals the error code that belongs to their reason.
//
// The files are in three groups:
//
//	control  turnSocket, control    one TURN server for each socket; requests and answers
//	data     allocation, clients    relayed packets, between datagrams and the TURN sockets
//	policy   allocationTable,       quotas, rates, addresses, credentials, answers to strangers
//	         package policy
//
// Credentials are short-lived and belong to one peer, which has a few allocations at a time. Nothing is relayed to
// addresses outside the public internet unless the operator allows them. A client that has not authenticated gets few
// answers. An allocation ends with the TCP connection that made it.
//
// Relayed addresses are IPv4 (RFC 5766). Peers with IPv6 only can use a relay, but nobody can reach them through one.
package relay
