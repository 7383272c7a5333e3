// Package relaytest is a TURN client for tests, as an agent has one.
package relaytest

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v2"
)

// Allocate returns an allocation of the relay that a TURN URI names, or an
// error of the relay's. It and its connection live as long as the test. config
// is for turns: URIs. What else fails ends the test.
func Allocate(t *testing.T, uri, username, password string, config *tls.Config) (net.PacketConn, error) {
	t.Helper()
	scheme, rest, _ := strings.Cut(uri, ":")
	address, transport, _ := strings.Cut(rest, "?transport=")
	conn := Dial(t, scheme, transport, address, config)
	quietly := logging.NewDefaultLoggerFactory()
	quietly.DefaultLogLevel = logging.LogLevelDisabled
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: address, TURNServerAddr: address, Conn: conn, Username: username, Password: password,
		LoggerFactory: quietly,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if err := client.Listen(); err != nil {
		t.Fatal(err)
	}
	relayed, err := client.Allocate()
	if err == nil {
		t.Cleanup(func() { relayed.Close() })
	}
	return relayed, err
}

// Dial connects to a relay as a URI of that scheme and transport says.
func Dial(t *testing.T, scheme, transport, address string, config *tls.Config) net.PacketConn {
	t.Helper()
	var conn net.PacketConn
	var stream net.Conn
	var err error
	switch {
	case scheme == "turns":
		stream, err = tls.Dial("tcp", address, config)
	case transport == "tcp":
		stream, err = net.Dial("tcp", address)
	default:
		conn, err = net.ListenPacket("udp4", "")
	}
	if err != nil {
		t.Fatal(err)
	}
	if stream != nil {
		conn = turn.NewSTUNConn(stream)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Receive waits for a packet from an address, whatever else comes before it.
func Receive(t *testing.T, conn net.PacketConn, want string, from net.Addr, patience time.Duration) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 2048)
	for {
		n, addr, err := conn.ReadFrom(buf)
		if err != nil {
			t.Fatalf("never got %q from %s: %v", want, from, err)
		}
		if string(buf[:n]) == want && addr.String() == from.String() {
			return
		}
	}
}
