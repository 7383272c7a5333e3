// Package rvclient is an agent's side of the rendezvous: it registers the
// agent's key, keeps the signalling connection, exchanges sealed messages with
// other peers through it, and carries the calls that pairing and relaying need.
//
// What it promises about messages: [Client.Send] returns nil only when the
// other agent has opened the message; a message is handed to OnMessage at most
// once, only if it was sealed by the peer that it is said to come from, for
// this peer, within the last two minutes.
package rvclient
