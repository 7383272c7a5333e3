package rvclient

import (
	"context"
	"net/http"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Peer is another peer as the rendezvous tells of it.
type Peer struct {
	ID     ident.PeerID
	Name   string // what the peer calls itself
	Online bool   // it has a signalling connection
}

// Lookup asks for a peer that allows this one. ErrNotAllowed is the answer for
// an unknown peer and for one that does not.
func (c *Client) Lookup(ctx context.Context, id ident.PeerID) (Peer, error) {
	var p api.Peer
	if err := c.rest.do(ctx, call{method: http.MethodGet, path: api.PeerPath(id), out: &p}); err != nil {
		return Peer{}, err
	}
	return Peer{ID: id, Name: p.Name, Online: p.Online}, nil
}

// Allow lets a peer find and signal this one. Allowing twice is fine.
func (c *Client) Allow(ctx context.Context, id ident.PeerID) error {
	return c.rest.do(ctx, call{method: http.MethodPut, path: api.AllowedPath(id)})
}

// Disallow ends what Allow began. Disallowing twice is fine.
func (c *Client) Disallow(ctx context.Context, id ident.PeerID) error {
	return c.rest.do(ctx, call{method: http.MethodDelete, path: api.AllowedPath(id)})
}

// Allowed lists whom this peer allows.
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

// Servers are the STUN servers and relays of the rendezvous.
type Servers struct {
	STUN     []string // URIs (RFC 7064), as stun:host:port
	TURN     []string // URIs (RFC 7065), as turn:host:port?transport=udp; empty without a relay
	Username string   // for TURN
	Password string   // for TURN; a secret
	Expires  time.Time
}

// RelayServers returns the STUN servers, and the relays with fresh credentials
// for this peer. A rendezvous without a relay is no error.
func (c *Client) RelayServers(ctx context.Context) (Servers, error) {
	var server api.Server
	if err := c.rest.send(ctx, c.rest.client, call{method: http.MethodGet, path: api.PathServer, out: &server}, ""); err != nil {
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
