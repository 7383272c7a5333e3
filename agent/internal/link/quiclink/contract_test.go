package quiclink

import (
	"crypto/rand"
	"net"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
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
	return dialOn(t, from, to, loopback(t))
}

func dialOn(t *testing.T, from, to *agent, fromConn net.PacketConn) (dialer, acceptor link.Link) {
	t.Helper()
	toConn := loopback(t)
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

// droppingConn drops every 20th packet.
type droppingConn struct {
	net.PacketConn
	sent atomic.Int64
}

func (c *droppingConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.sent.Add(1)%20 == 0 {
		return len(b), nil
	}
	return c.PacketConn.WriteTo(b, to)
}

func TestStatsHaveLossAndRoundTrip(t *testing.T) {
	const frames = 60
	dialer, acceptor := dialOn(t, newAgent(t, nil), newAgent(t, nil), &droppingConn{PacketConn: loopback(t)})
	arrived := make(chan struct{}, frames)
	linktest.Start(t, acceptor, func(tunnel.Frame) error { arrived <- struct{}{}; return nil })
	linktest.Start(t, dialer, func(tunnel.Frame) error { return nil })
	for seq := range uint64(frames) {
		if err := dialer.Send(linktest.Frame(tunnel.EndpointLane(1, 0x81), seq+1, 32<<10)); err != nil {
			t.Fatal(err)
		}
	}
	for range frames {
		linktest.Within(t, arrived, "the next frame")
	}
	// The sockets of a busy machine lose more than the connection drops.
	if s := dialer.Stats(); s.Loss < 0.02 || s.Loss > 0.5 || s.RTT <= 0 || s.MinRTT <= 0 || s.MinRTT > s.RTT {
		t.Errorf("stats: %+v, want a loss of 0.05 or more, and round-trip times", s)
	}
}
