package rvclient

import (
	"context"
	"crypto/tls"
)

// Handshake connects as the client does for signalling, says nothing, and tells
// of the connection.
func (c *Client) Handshake(ctx context.Context) (tls.ConnectionState, error) {
	conn, err := (&dialer{host: c.join.Host, tls: c.tls, tcp: c.dialer.tcp}).handshake(ctx)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	return conn.ConnectionState(), nil
}
