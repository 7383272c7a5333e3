package rvclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// register makes the key known and returns a token. Challenge and registration
// travel on one TLS connection of their own, to which the signature is bound, or
// else to the rendezvous's address if it says that a reverse proxy ends TLS: it
// takes that through its own proxy only.
func (c *Client) register(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := c.dialer.open(ctx, alpnHTTP)
	if err != nil {
		return "", fmt.Errorf("%w: connect to %s: %w", ErrUnavailable, c.join.Host, err)
	}
	defer conn.Close()
	state := conn.ConnectionState()
	exporter, err := api.Exporter(&state)
	if err != nil {
		return "", fmt.Errorf("register at the rendezvous: %w", err)
	}
	client := &http.Client{Transport: oneConnection(conn)}
	defer client.CloseIdleConnections()

	var challenge api.Challenge
	if err := c.rest.send(ctx, client, call{method: http.MethodPost, path: api.PathChallenges, out: &challenge}, ""); err != nil {
		return "", err
	}
	registration := api.Registration{
		Challenge: challenge.Challenge,
		Name:      c.name,
		Invite:    c.join.Invite,
		Expires:   challenge.Expires.Truncate(time.Second),
	}
	if challenge.Bind == api.BindOrigin {
		registration.SignForOrigin(c.key, ident.OriginOf(c.join.Host))
	} else {
		registration.Sign(c.key, exporter)
	}
	var registered api.RegisterResult
	err = c.rest.send(ctx, client, call{method: http.MethodPost, path: api.PathPeers, in: registration, out: &registered}, "")
	if err != nil {
		return "", err
	}
	if registered.ID != c.key.ID() || registered.Token == "" {
		return "", fmt.Errorf("%w: it registered another peer than this one", ErrUnavailable)
	}
	return registered.Token, nil
}

// oneConnection is a transport over a connection that stands already; it makes
// no other.
func oneConnection(conn *tls.Conn) *http.Transport {
	once := make(chan *tls.Conn, 1)
	once <- conn
	return &http.Transport{
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			select {
			case c := <-once:
				return c, nil
			default:
				return nil, errors.New("the rendezvous closed the connection between challenge and registration")
			}
		},
		MaxConnsPerHost: 1,
	}
}
