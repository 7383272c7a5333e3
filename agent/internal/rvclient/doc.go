// Package rvclient is the agent's client of the rendezvous. It registers the
// agent's key, keeps a signalling connection open, exchanges sealed messages with
// other peers, and makes the REST calls for peers, pairing and relays.
//
// [Client.Send] returns nil only after the receiving agent has opened the
// message. OnMessage is called at most once for each message. A message is
// passed on only if the named sender sealed it for this peer within the last two
// minutes.
package rvclient
