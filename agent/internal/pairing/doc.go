// Package pairing exchanges the public keys of two peers. A person reads an
// EasyFind address and a PIN on one machine, the host, and types them on the
// other, the client.
//
// The peers exchange the three messages of a try through a mailbox at the
// rendezvous, which is named by the address. The rendezvous learns no secret from
// them. If it changes a message, the pairing fails on both sides.
//
//	client                    rendezvous                        host
//	│                             │◄─────────────── open mailbox │
//	│                             │ address ────────────────────►│ draws the PIN
//	│       ... a person reads the address and the PIN ...       │
//	│ Opening{Ya, key} ──────────►│─────────────────────────────►│ counts the try
//	│◄────────────────────────────│◄─ Answer{Yb, key, tag, card} │
//	│ checks the tag              │                              │
//	│ Confirmation{tag, card} ───►│─────────────────────────────►│ checks the tag
//	│                             │◄────────────── close mailbox │
//
// Ya, Yb and the tags are those of CPace (package cpace). The channel identifier
// is the address, and the password is the PIN. The associated data of each side
// are its role and its public key. Therefore an attacker cannot replace a key,
// send a message back to its sender or connect two clients with each other. A
// card holds the name and the direct addresses of a peer. It is encrypted with a
// key derived from CPace's session key, so that only the other peer can read it.
//
// Each try uses up one of [MaxTries], also if the client never confirms: the
// answer already shows a guesser whether the guess was right. After the last try
// the address is invalid. The host counts the tries itself. The rendezvous counts
// too, but the host does not rely on that.
package pairing
