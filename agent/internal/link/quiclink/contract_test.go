package quiclink

import (
	"crypto/rand"
	"net"
	"testing"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// agent is an endpoint that runs until the test ends.
type agent struct {
	*Endpoint
	id       ident.PeerID
	accepted chan link.Link
}

func newAgent(t *testing.T, trust func(ident.PeerID) error) *agent {
	t.Helper()
	key, err := ident.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if trust == nil {
		trust = func(ident.PeerID) error { return nil }
	}
	a := &agent{id: key.ID(), accepted: make(chan link.Link, 8)}
	a.Endpoint, err = NewEndpoint(Config{
		Key: key, Listen: "127.0.0.1:0", Trust: trust,
		Accept: func(l link.Link) { a.accepted <- l },
	})
	if err != nil {
		t.Fatal(err)
	}
	linktest.Serve(t, a.Run)
	return a
}

func (a *agent) addr() *net.UDPAddr { return a.LocalAddr().(*net.UDPAddr) }

func dial(t *testing.T, from, to *agent) (dialer, acceptor link.Link) {
	t.Helper()
	dialer, err := from.Dial(linktest.Context(t), to.addr(), to.id, link.Path{Rank: link.RankHost})
	if err != nil {
		t.Fatal(err)
	}
	acceptor = linktest.Within(t, to.accepted, "the link to be accepted")
	if dialer.Info().Peer != to.id || acceptor.Info().Peer != from.id {
		t.Fatalf("the peers are %s and %s, want %s and %s", dialer.Info().Peer, acceptor.Info().Peer, to.id, from.id)
	}
	return dialer, acceptor
}

func TestOwnSocketKeepsContract(t *testing.T) {
	linktest.Run(t, func(t *testing.T) (link.Link, link.Link) {
		return dial(t, newAgent(t, nil), newAgent(t, nil))
	})
}

// plainPacketConn hides the other methods of a UDP socket.
type plainPacketConn struct{ net.PacketConn }

func loopback(t *testing.T) net.PacketConn {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return plainPacketConn{c}
}

func dialOver(t *testing.T, from, to *agent) (dialer, acceptor link.Link) {
	t.Helper()
	fromConn, toConn := loopback(t), loopback(t)
	path := link.Path{Rank: link.RankRelayUDP, Relay: "192.0.2.1:3478"}
	listened := make(chan link.Link, 1)
	go func() {
		l, err := to.ListenOver(linktest.Context(t), toConn, fromConn.LocalAddr(), from.id, path)
		if err != nil {
			t.Errorf("listen over a packet connection: %v", err)
		}
		listened <- l
	}()
	dialer, err := from.DialOver(linktest.Context(t), fromConn, toConn.LocalAddr(), to.id, path)
	if err != nil {
		t.Fatal(err)
	}
	return dialer, linktest.Within(t, listened, "the accepted link")
}

func TestWrappedPacketConnKeepsContract(t *testing.T) {
	linktest.Run(t, func(t *testing.T) (link.Link, link.Link) {
		return dialOver(t, newAgent(t, nil), newAgent(t, nil))
	})
}
