// Package pairing makes two peers know each other's keys for good, by an
// EasyFind address and a PIN that a person carries from one to the other.
//
// The two meet in a mailbox at the rendezvous, whose name is the address. The
// rendezvous carries three messages of a try and learns nothing from them; a
// message that it changes makes both ends fail.
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
// Ya, Yb and the tags are CPace's (package cpace). Its channel identifier is
// the address, its password the PIN, and its associated data each end's role
// and public key, so that nobody can put another key in place of one, send an
// end's own message back to it or let a client talk to a client. A card is what
// only the other end may read, name and direct addresses, encrypted by a key
// derived from the session key.
//
// A try costs the host one of [MaxTries], whether or not it is confirmed, since
// the answer already tells a guesser whether the guess was right. After the
// last one the address is burned. The host counts by itself and does not rely
// on the rendezvous, which counts too.
package pairing
