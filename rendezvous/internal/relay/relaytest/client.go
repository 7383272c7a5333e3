// Package relaytest is a TURN client for tests. It connects in the same ways as an agent.
package relaytest

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v2"

	"github.com/easyfind-usb/easyfind/internal/waittest"
)

// Allocate makes an allocation at the relay that a TURN URI names. It returns the relay's error if the relay refuses.
// The allocation and its connection end with the test. config is for turns: URIs.
func Allocate(t *testing.T, uri, username, password string, config *tls.Config) (net.PacketConn, error) {
	t.Helper()
	scheme, rest, _ := strings.Cut(uri, ":")
	address, transport, _ := strings.Cut(rest, "?transport=")
	conn := Dial(t, scheme, transport, address, config)
	loggers := logging.NewDefaultLoggerFactory()
	loggers.DefaultLogLevel = logging.LogLevelDisabled
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: address, TURNServerAddr: address, Conn: conn, Username: username, Password: password,
		LoggerFactory: loggers,
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

// Dial connects to a relay with the scheme and transport of a TURN URI.
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

// Receive waits for a packet from an address and ignores all other packets.
func Receive(t *testing.T, conn net.PacketConn, want string, from net.Addr) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(waittest.Timeout))
	buf := make([]byte, 2048)
	for {
		n, addr, err := conn.ReadFrom(buf)
		if err != nil {
			t.Fatalf("%q from %s did not arrive: %v", want, from, err)
		}
		if string(buf[:n]) == want && addr.String() == from.String() {
			return
		}
	}
}
