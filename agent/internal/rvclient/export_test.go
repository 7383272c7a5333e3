package rvclient

import (
	"context"
	"crypto/tls"
)

// Handshake makes a TLS handshake as for a signalling connection, closes the
// connection and returns its state.
func (c *Client) Handshake(ctx context.Context) (tls.ConnectionState, error) {
	conn, err := (&dialer{host: c.dialer.host, tls: c.dialer.tls, tcp: c.dialer.tcp}).handshake(ctx)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	return conn.ConnectionState(), nil
}
