// Package signal defines the messages between a peer and its rendezvous on the signalling connection, and the envelopes
// that two peers exchange through it.
//
// # The connection
//
// The signalling connection is a TLS 1.3 connection to the public port of the rendezvous with the ALPN protocol
// "easyfind/1". A peer is present, which means that others can find it, while it has this connection. All integers are
// big-endian. Each message is one frame:
//
//	length 4 (of what follows, 1 to 65536) │ kind 1 │ body
//
//	peer                                         rendezvous
//	│◄──────────────── Challenge{nonce, time} │  at once
//	│ Hello{key, expiry, signature} ─────────►│  within 10 s
//	│◄──────────────────────── Welcome{idle} │  or Bye{code, text}
//	│                                         │
//	│ Ping{token} ───────────────────────────►│  every 30 s, or to test the connection
//	│◄─────────────────────────── Pong{token} │
//	│                                         │
//	│ Send{id, to, body} ────────────────────►│
//	│            Deliver{number, from, body} ─┼─────────────────────► other peer
//	│                       Got{number} ◄─────┼────────────────────── other peer
//	│◄──────────────────────────── Sent{id}  │  or SendFailed{id, code}
//	│                                         │
//	│ Ping{AskFeatures} ─────────────────────►│  if the peer can use any feature
//	│◄───────────────── Features{bits}, Pong │  or Pong alone, in the first version
//	│ LinkReport{peer, kind, transport, RTT}─►│  if FeatureLinkReports was offered
//	│                                         │
//	│◄────────────────────────────────── Move│  before the instance stops: connect again
//	│◄──────────────────────── Bye{code, text}│  and the connection ends
//
// The signature of Hello covers the nonce and an exporter of this TLS connection (RFC 8446 section 7.5), so it is not
// valid on any other connection. Its expiry is in the time of the rendezvous, which Challenge contains. A peer without
// a clock can therefore connect.
//
// # WebSockets
//
// Some reverse proxies end TLS, and some networks let only HTTP out. They do not pass "easyfind/1". For them the same
// bytes travel in a WebSocket (RFC 6455) at /v1/signal of the REST interface, in binary messages of at most
// [MaxMessage] bytes. The boundaries of these messages have no meaning. The peer offers two subprotocols, and the
// rendezvous selects one:
//
//	easyfind.1.tls     Peer and rendezvous are the ends of the TLS connection. Hello
//	                   covers its exporter, as above
//	easyfind.1.origin  A proxy that the rendezvous trusts ends TLS. Hello covers the
//	                   nonce and the origin of the rendezvous, "https://host:port",
//	                   as the peer dialled it, with a signature purpose of its own
//
// The rendezvous selects the first for every direct connection, and the second only for connections from the proxies
// that its operator lists. A Hello for one is not valid for the other. The second kind proves less: whoever ends TLS at
// that origin, such as the operator's proxy, can use the connection. It cannot use the Hello a second time, because the
// nonce belongs to one connection. It cannot use it at another rendezvous, because the origin differs. It cannot use it
// at this rendezvous on a direct connection, which needs the first kind. And it can neither read, make nor change an
// envelope.
//
// # Answers
//
// The rendezvous answers every Send once: with Sent when the other peer has confirmed that it has the message, and with
// SendFailed when the other peer does not have it or may not have it. A peer that connects again replaces its older
// connection, which ends with Bye.
//
// An instance that is about to stop sends Move to a few peers at a time, if there is another instance that they can
// connect to. The peer connects there while the old connection remains, so that others can find it at any moment. From
// then on it sends on the new connection, and it accepts messages on the old connection until that ends.
//
// # Guarantees
//
// Sent means that the other agent has the message. The rendezvous keeps no message for a peer that is not connected,
// not even for one that is changing its connection, because only the agent knows whether its message is still useful
// later. An agent repeats a message if it needs to. The answer comes within 12 s, in most cases immediately. If the
// connection of the sender ends first, its messages count as unconfirmed. Messages from one peer to another arrive in
// the order in which they were sent, as long as the receiver keeps its connection. The two peers may be connected to
// different instances of the rendezvous. Peers that have exchanged messages recently can do so while the database of
// the rendezvous is down.
//
// # Envelopes
//
// The body of Send and Deliver is an [Envelope]. The sending peer signs it for one receiver, with a time and a random
// nonce. The rendezvous can withhold an envelope, but it can neither make, change, redirect nor repeat one.
package signal
