// Package tcplink makes links over TCP: the way to a peer where UDP is
// blocked, and the one that needs nothing but an open port.
//
// # Two connections
//
// A link is two TCP connections. A single one that carries everything delays a
// key press by a second where packets are lost behind a disk's data. One
// connection carries the lanes that are interactive, the other the bulk ones.
// Both are secured alike, each by a handshake of its own, and say to which
// link they belong with 16 random bytes that the dialer drew:
//
//	dialer                                     acceptor
//	│ handshake (TLS or plain) ───────────────►│
//	│◄────────────────────────────── handshake │
//	│ join: version 1 │ role 1 │ link 16 ─────►│ waits for the other role with
//	│                                          │ the same link and the same peer
//	│ records ... ────────────────────────────►│
//	│◄─────────────────────────────── records  │
//
// Dial returns when the acceptor has proved its key on both connections;
// whether it accepts this end's key shows in Run.
//
// # Records
//
// After that a connection carries frames as they are, and records of the link
// itself between them. A frame begins with its length, which is less than
// 2^24, so with a zero byte; the other records begin with
//
//	1 move    lane 4: from here on the lane's frames come on the bulk connection
//	2 end     lane 4: no more frames of the lane come on the bulk connection
//	3 alive   nothing: sent every 4 s; 9 s of silence end the link
//	4 close   length 1 │ reason: nothing follows
//
// Every lane begins on the interactive connection. The first frame of more
// than 4 KiB moves its lane to the bulk connection, where it stays until
// EndLane: "move" goes out on the interactive connection, then the frame on
// the bulk one. A receiver that meets a lane on the bulk connection waits
// until it has met its "move" on the interactive one, which keeps the lane's
// order. Only a lane that is begun again after its end waits the other way
// round, for its "end", and since an end goes out before all that is sent on
// the bulk connection later, the two never wait for each other. Lanes 0 and 1
// and endpoints 0 do not move: what they carry is small (Linux gives a control
// transfer at most a page).
//
// Liveness is the link's own business, not TCP_USER_TIMEOUT's, which would end
// a connection whose receiver holds it up for longer (tcp(7)).
//
// # Plain mode
//
// Where its owner turns it on, for networks that are trusted not to be
// overheard, a connection is authenticated by the peers' keys but not
// encrypted. The handshake is a Diffie-Hellman exchange signed by both ends,
// in the manner of SIGMA (Krawczyk, 2003):
//
//	dialer                                     acceptor
//	│ magic 8 │ e 32 │ n 32 │ key 32 ─────────►│
//	│◄──── e 32 │ n 32 │ key 32 │ sig 64 │ mac 32
//	│ sig 64 │ mac 32 ────────────────────────►│
//
// e is an ephemeral X25519 key, n a nonce, key the peer's Ed25519 key. Each
// signature (ident.PurposeLink) is of the mode, the signer's role, and all
// that the first two messages hold before the signature: both e, both n, both
// keys. Each mac is an HMAC of the same, with a key of the exchange that only
// this role uses: who signed holds the exchange's secret too. HKDF-SHA-256
// with both nonces as salt gives two keys for the macs and one for the records
// of each direction.
//
// All that follows travels in sealed chunks: length 4 │ payload │ tag 16. The
// tag is AES-256-GMAC of the length and the payload, with a counter as its
// nonce, so that nothing can be changed, repeated, left out, swapped between
// the directions or the connections, or moved. A chunk is handed up after its
// tag has been checked.
package tcplink
