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

// register registers the key and returns a token. It sends challenge and
// registration on a TLS connection of their own and binds the signature to that
// connection. If the rendezvous says that a reverse proxy ends TLS, the signature
// is bound to the rendezvous's origin instead, which the rendezvous accepts only
// through its own proxy.
func (r *rest) register(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := r.dialer.open(ctx, alpnHTTP)
	if err != nil {
		return "", fmt.Errorf("%w: connect to %s: %w", ErrUnavailable, r.join.Host, err)
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
	post := call{method: http.MethodPost, path: api.PathChallenges, out: &challenge}
	if err := r.send(ctx, client, post, ""); err != nil {
		return "", err
	}
	registration := api.Registration{
		Challenge: challenge.Challenge,
		Name:      r.name,
		Invite:    r.join.Invite,
		Expires:   challenge.Expires.Truncate(time.Second),
	}
	if challenge.Bind == api.BindOrigin {
		registration.SignForOrigin(r.key, ident.OriginOf(r.join.Host))
	} else {
		registration.Sign(r.key, exporter)
	}
	var registered api.RegisterResult
	post = call{method: http.MethodPost, path: api.PathPeers, in: registration, out: &registered}
	if err := r.send(ctx, client, post, ""); err != nil {
		return "", err
	}
	if registered.ID != r.key.ID() || registered.Token == "" {
		return "", fmt.Errorf("%w: it registered another peer than this one", ErrUnavailable)
	}
	return registered.Token, nil
}

// oneConnection returns an HTTP transport that uses only the given connection.
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
