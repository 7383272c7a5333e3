// Package relay is the STUN and TURN server of the rendezvous (RFC 8489, RFC 5766), over UDP, TCP and, for connections
// that are handed to it, TLS.
//
// The TURN server of pion/turn does the control plane: it authenticates requests, allocates, permits, binds channels
// and decides when they expire. pion/stun reads and writes STUN messages. Ours is what pion/turn does not do: the
// data plane, because pion/turn needs two system calls and several copies for each packet where package datagrams
// moves up to 64 packets with one call; package policy, because pion/turn relays to any address for anybody who has a
// password; and a thin layer in front of pion/turn, which checks the length of every attribute (pion/stun reads some
// without looking), answers Binding requests (RFC 5780), caps lifetimes and gives refusals their error codes.
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
