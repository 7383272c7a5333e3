// Package signal is what a peer and its rendezvous say to each other over the
// signalling connection, and the envelopes that two peers exchange through it.
//
// # The connection
//
// It is a TLS 1.3 connection to the rendezvous's public port with the ALPN
// protocol "easyfind/1". Presence is this connection: a peer can be found while
// it stands. All integers are big-endian; every message travels in a frame:
//
//	length 4 (of what follows, 1 to 65536) │ kind 1 │ body
//
//	peer                                         rendezvous
//	│◄──────────────── Challenge{nonce, time} │  at once
//	│ Hello{key, expiry, signature} ─────────►│  within 10 s
//	│◄──────────────────────── Welcome{idle} │  or Bye{code, text}
//	│                                         │
//	│ Ping{token} ───────────────────────────►│  every 30 s, or when in doubt
//	│◄─────────────────────────── Pong{token} │
//	│                                         │
//	│ Send{id, to, body} ────────────────────►│
//	│            Deliver{number, from, body} ─┼─────────────────────► other peer
//	│                       Got{number} ◄─────┼────────────────────── other peer
//	│◄──────────────────────────── Sent{id}  │  or Failed{id, code}
//	│                                         │
//	│ Ping{AskFeatures} ─────────────────────►│  by a peer that has use for any
//	│◄───────────────── Features{bits}, Pong │  or, of the first version, Pong
//	│ Path{peer, kind, transport, RTT} ──────►│  where FeaturePaths was offered
//	│                                         │
//	│◄────────────────────────────────── Move│  before the instance stops: connect anew
//	│◄──────────────────────── Bye{code, text}│  and the connection ends
//
// The signature of Hello covers the nonce and an exporter of this very TLS
// connection (RFC 8446 section 7.5), so that it is worth nothing anywhere
// else. Its expiry is stated in the rendezvous's time, which Challenge tells: a
// peer without a clock can connect.
//
// # Through what does not let it pass
//
// A reverse proxy that ends TLS, and a network that lets nothing but HTTP out,
// know nothing of "easyfind/1". There the same bytes travel in a WebSocket (RFC
// 6455) at /v1/signal of the REST interface, in binary messages of at most [MaxMessage] bytes; where one
// ends and the next begins means nothing. The peer offers two subprotocols and
// the rendezvous takes one:
//
//	easyfind.1.tls     the TLS connection is between the two. Hello covers its
//	                   exporter, as above
//	easyfind.1.origin  a proxy that the rendezvous trusts ends TLS. Hello covers
//	                   the nonce and the rendezvous's origin, "https://host:port",
//	                   as the peer dialled it, under a purpose of its own
//
// The first is what a rendezvous takes of everyone who connects to it directly,
// and it takes the second only from the networks of the proxies that its
// operator lists; a Hello of one kind is no Hello of the other. What the second
// kind proves is less: whoever ends TLS at that origin can use the connection,
// as the operator's own proxy does. It can not use the Hello a second time (the
// nonce is of one connection), nor at another rendezvous (the origin is
// another), nor at this one past the proxy (a direct connection wants the first
// kind). And it can neither read, make nor change an envelope.
//
// # Answers
//
// Every Send is answered once: by Sent when the other peer has confirmed that
// it has the message, by Failed when it surely or possibly has not. A peer that
// connects again replaces its older connection, which ends with Bye.
//
// An instance that is about to stop sends Move, to a few peers at a time, where
// there is another to go to. The peer connects while the old connection goes on,
// so that there is no moment at which it cannot be found. It sends on the new one
// from then on, and takes what still comes on the old one until that ends.
//
// # What is promised
//
// Sent is true: the other agent has the message. Everything else may be asked
// again, and an agent does so where it matters: the rendezvous keeps no message
// for a peer that is not connected, not even for one that is between two
// connections, because only the agent knows what its message is still worth
// then. The answer comes within 12 s, at once in most cases; if the sender's own
// connection ends before, its messages count as unconfirmed. Messages of one
// peer to another arrive in the order in which they were sent, as long as the
// other stays on one connection. Which instances of the rendezvous the two are
// connected to makes no difference, nor does its database as long as the two
// have exchanged messages lately: it may be away.
//
// # Envelopes
//
// The body of Send and Deliver is an [Envelope]: signed by the sending peer's
// key for one receiver, with a time and a random nonce. The rendezvous can
// withhold one but neither make, change, redirect nor repeat one.
package signal
