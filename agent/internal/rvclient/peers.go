package rvclient

import (
	"context"
	"net/http"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Peer is the rendezvous's description of another peer.
type Peer struct {
	ID     ident.PeerID
	Name   string // chosen by the peer itself
	Online bool   // the peer has a signalling connection
}

// Lookup returns a peer that allows this one. If the peer is unknown or does not
// allow this one, the error wraps ErrNotAllowed.
func (c *Client) Lookup(ctx context.Context, id ident.PeerID) (Peer, error) {
	var p api.Peer
	if err := c.rest.do(ctx, call{method: http.MethodGet, path: api.PeerPath(id), out: &p}); err != nil {
		return Peer{}, err
	}
	return Peer{ID: id, Name: p.Name, Online: p.Online}, nil
}

// Allow allows a peer to find and signal this one. Allowing it twice is not an
// error.
func (c *Client) Allow(ctx context.Context, id ident.PeerID) error {
	return c.rest.do(ctx, call{method: http.MethodPut, path: api.AllowedPath(id)})
}

// Disallow revokes Allow. Disallowing a peer twice is not an error.
func (c *Client) Disallow(ctx context.Context, id ident.PeerID) error {
	return c.rest.do(ctx, call{method: http.MethodDelete, path: api.AllowedPath(id)})
}

// Allowed returns the peers that this one allows.
func (c *Client) Allowed(ctx context.Context) ([]ident.PeerID, error) {
	var list api.Allowances
	if err := c.rest.do(ctx, call{method: http.MethodGet, path: api.PathAllowed, out: &list}); err != nil {
		return nil, err
	}
	ids := make([]ident.PeerID, len(list.Allowed))
	for i, a := range list.Allowed {
		ids[i] = a.Peer
	}
	return ids, nil
}

// Servers holds the STUN servers and relays of the rendezvous.
type Servers struct {
	STUN     []string  // URIs (RFC 7064), such as stun:host:port
	TURN     []string  // URIs (RFC 7065), such as turn:host:port?transport=udp; empty without a relay
	Username string    // for TURN
	Password string    // for TURN; a secret
	Expires  time.Time // of username and password
}

// RelayServers returns the STUN servers, and the relays with new credentials for
// this peer. If the rendezvous has no relay, TURN is empty and the error is nil.
func (c *Client) RelayServers(ctx context.Context) (Servers, error) {
	var server api.Server
	get := call{method: http.MethodGet, path: api.PathServer, out: &server}
	if err := c.rest.send(ctx, c.rest.client, get, ""); err != nil {
		return Servers{}, err
	}
	s := Servers{STUN: server.STUN}
	if len(server.TURN) == 0 {
		return s, nil
	}
	var relay api.RelayCredentials
	err := c.rest.do(ctx, call{method: http.MethodPost, path: api.PathRelay, out: &relay})
	if isProblem(err, api.CodeRelayUnavailable) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	s.TURN, s.Username, s.Password, s.Expires = relay.URIs, relay.Username, relay.Password, relay.Expires
	return s, nil
}
