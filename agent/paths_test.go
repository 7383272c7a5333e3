package agent

import (
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

func TestPathsAsTheRendezvousIsTold(t *testing.T) {
	for _, c := range []struct {
		rank      link.Rank
		remote    string
		kind      signal.PathKind
		transport signal.Transport
	}{
		{link.RankHost, "192.168.1.7:4000", signal.PathLAN, signal.TransportUDP},
		{link.RankHost, "[fe80::1%eth0]:4000", signal.PathLAN, signal.TransportUDP},
		{link.RankHost, "[2001:db8::1]:4000", signal.PathDirect, signal.TransportUDP},
		{link.RankPunched, "203.0.113.7:4000", signal.PathDirect, signal.TransportUDP},
		{link.RankTLS, "[::ffff:10.0.0.9]:7574", signal.PathLAN, signal.TransportTLS},
		{link.RankPlainTCP, "203.0.113.7:7575", signal.PathDirect, signal.TransportTCP},
		{link.RankRelayUDP, "10.0.0.9:50000", signal.PathRelayed, signal.TransportUDP},
		{link.RankRelayTCP, "203.0.113.7:50000", signal.PathRelayed, signal.TransportTCP},
		{link.RankRelayTLS, "", signal.PathRelayed, signal.TransportTLS},
		{link.RankMapped, "no address", signal.PathDirect, signal.TransportUDP},
	} {
		p := link.Path{Rank: c.rank, Remote: c.remote}
		if kind, transport := pathKind(p), transportOf(p); kind != c.kind || transport != c.transport {
			t.Errorf("%v to %s: %d over %d, want %d over %d", c.rank, c.remote, kind, transport, c.kind, c.transport)
		}
	}
}
