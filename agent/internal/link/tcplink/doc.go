// Package tcplink makes links over TCP. They serve where UDP is blocked: all
// that they need is one open TCP port at the acceptor.
//
// # Two connections
//
// A link consists of two TCP connections. If one connection carried everything,
// a lost packet of disk data would delay a key press by up to a second. One
// connection carries the interactive lanes and the other one the bulk lanes.
// Each has its own handshake. After that the dialer sends a join message, which
// names the link by 16 random bytes that the dialer drew:
//
//	dialer                                     acceptor
//	│ TLS 1.3 handshake with both keys ◄──────►│
//	│ join: version 1 │ role 1 │ link 16 ─────►│ waits for the connection with the
//	│                                          │ same peer and link, but other role
//	│ records ... ────────────────────────────►│
//	│◄─────────────────────────────── records  │
//
// Dial returns when the acceptor has proved on both connections that it holds
// the expected key. If the acceptor does not trust the dialer's key, the
// dialer's Run returns an error.
//
// # Records
//
// After the join message a connection carries frames and, between them, records
// of the link itself. A frame begins with its length, which is less than 2^24,
// so its first byte is zero. The other records begin with:
//
//	1 move    lane 4: the lane's next frames come on the bulk connection
//	2 end     lane 4: no more frames of the lane come on the bulk connection
//	3 alive   nothing: a probe; see link.TCPProbeInterval
//	4 close   length 1 │ reason: the sender's last record
//
// Every lane begins on the interactive connection. The first frame with a body
// of more than 4 KiB moves its lane to the bulk connection, where the lane stays
// until EndLane. Lanes of a more urgent class than bulk move with a body of more
// than 16 KiB. The sender writes "move" to the interactive connection and then
// the frame to the bulk connection. A receiver that gets a frame of a lane on
// the bulk connection delivers it after it has read the lane's "move" from the
// interactive connection. This keeps the order of the lane.
//
// A lane that was ended can begin again. Then the receiver waits the other way
// round: it delivers the new frames on the interactive connection after it has
// read the lane's "end" from the bulk connection. The sender writes an "end"
// before anything that it writes to the bulk connection later, so the two
// readers never wait for each other.
//
// Lossy frames have no order, and go on the interactive connection: they are small,
// and late behind the data of a disk they are useless.
//
// Lanes 0 and 1 and the lanes of endpoint 0 do not move, because their frames
// are small: Linux limits a control transfer to one page.
//
// # Plain mode
//
// Plain mode authenticates both peers and every byte, but encrypts nothing after
// the handshake. It is for networks where eavesdropping is no concern, and is
// off unless the owner of the acceptor turns it on.
//
// The peers authenticate each other by the same TLS 1.3 handshake (RFC 8446) as
// in TLS mode, but with the ALPN name (RFC 7301) "easyfind-plain/1". Then each
// side sends one TLS record of application data, the switch. It is the last TLS
// record of that side. All later bytes of that side travel in chunks:
//
//	dialer                                          acceptor
//	│ TLS 1.3 handshake with both keys ◄───────────►│
//	│ TLS record: "plain chunks follow" ───────────►│
//	│◄─────────── TLS record: "plain chunks follow" │
//	│ chunk: length 4 │ payload │ tag 16 ──────────►│
//	│◄────────── chunk: length 4 │ payload │ tag 16 │
//
// The tag is the AES-256-GMAC (NIST SP 800-38D) of length and payload. Its nonce
// is a counter that begins at 0 and grows by one with each chunk. Each direction
// has its own key. Both sides derive it with the TLS exporter (RFC 8446 section
// 7.5) under the label "EXPERIMENTAL easyfind plain dialer" or "EXPERIMENTAL
// easyfind plain acceptor", named after the sender of the chunks. RFC 5705
// section 4 reserves labels that begin with EXPERIMENTAL for private use. The
// exporter's values are unique to a connection (RFC 9266), so no key is ever used
// on two connections. They do not depend on the dialer's certificate (RFC 8446
// section 7.1). The dialer's Finished message covers that certificate, and the
// acceptor verifies the message before it uses the keys.
//
// The mode promises for everything that a link delivers:
//
//   - Authenticity: the bytes come from the peer that proved its key in the
//     handshake of the same connection.
//   - Integrity and order: a byte that was changed, repeated, left out,
//     reordered, or moved to the other direction or to another connection is
//     not delivered. It ends the link.
//   - Freshness: bytes of earlier connections are not accepted. There is no
//     early data (0-RTT), and both sides contribute new random values to each
//     handshake.
//   - A clean end is authentic: the close record has a tag too. A connection
//     that somebody cuts ends the link with an error.
//
// The mode does not promise secrecy. Everybody on the path can read what the
// link carries after the handshake, and when and how much it carries. As in TLS
// mode, everybody on the path can delay bytes or cut the connection.
//
// # The switch from TLS to chunks
//
// The way back from crypto/tls to the TCP connection must not lose a byte or
// read it as something else. It does not:
//
//   - crypto/tls reads ahead, by default beyond the end of a record. Here it
//     reads through a recordReader, which never returns bytes of two records
//     at once. crypto/tls reads a record only when it needs one, so the bytes
//     after the switch stay in the kernel's buffer.
//   - A side's TLS messages after the handshake, such as alerts, come before its
//     switch, so the receiver's TLS layer handles them. That includes session
//     tickets, which are turned off.
//   - A side's TLS layer cannot write after the switch: the recordReader refuses.
//   - The switch is protected by the keys of TLS. Nobody on the path can forge,
//     repeat, move or suppress it without ending the connection.
//   - A TLS record in the place of a chunk cannot be one: its first four bytes,
//     read as a length, are far above the bound.
//
// The dialer sends its switch and the first chunks after it has verified the
// acceptor's key, without waiting for the acceptor's switch. This costs no round
// trip. The acceptor reads no chunk before it has verified the dialer's key and
// Config.Trust has accepted it. Trust is called after the dialer has proved its
// key, so nobody can find out which keys are trusted by presenting public keys.
//
// The modes have different ALPN names, and both sides check the name that was
// negotiated. So neither a peer nor somebody on the path can turn a connection
// in TLS mode into one in plain mode.
package tcplink
