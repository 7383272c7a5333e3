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
//	│◄──────────────────────── Bye{code, text}│  and the connection ends
//
// The signature of Hello covers the nonce and an exporter of this very TLS
// connection (RFC 8446 section 7.5), so that it is worth nothing anywhere
// else. Its expiry is stated in the rendezvous's time, which Challenge tells: a
// peer without a clock can connect.
//
// Every Send is answered once: by Sent when the other peer has confirmed that
// it has the message, by Failed when it surely or possibly has not. A peer that
// connects again replaces its older connection, which ends with Bye.
//
// # Envelopes
//
// The body of Send and Deliver is an [Envelope]: signed by the sending peer's
// key for one receiver, with a time and a random nonce. The rendezvous can
// withhold one but neither make, change, redirect nor repeat one.
package signal
