package rvsync

import (
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/rvclient"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

func TestLinkReportNamesKindAndTransport(t *testing.T) {
	for _, c := range []struct {
		rank      link.Rank
		remote    string
		kind      signal.LinkKind
		transport signal.Transport
	}{
		{link.RankHost, "192.168.1.7:4000", signal.LinkLAN, signal.TransportUDP},
		{link.RankHost, "[fe80::1%eth0]:4000", signal.LinkLAN, signal.TransportUDP},
		{link.RankHost, "[2001:db8::1]:4000", signal.LinkDirect, signal.TransportUDP},
		{link.RankPunched, "203.0.113.7:4000", signal.LinkDirect, signal.TransportUDP},
		{link.RankTLS, "[::ffff:10.0.0.9]:7574", signal.LinkLAN, signal.TransportTLS},
		{link.RankPlainTCP, "203.0.113.7:7575", signal.LinkDirect, signal.TransportTCP},
		{link.RankRelayUDP, "10.0.0.9:50000", signal.LinkRelayed, signal.TransportUDP},
		{link.RankRelayTCP, "203.0.113.7:50000", signal.LinkRelayed, signal.TransportTCP},
		{link.RankRelayTLS, "", signal.LinkRelayed, signal.TransportTLS},
		{link.RankMapped, "no address", signal.LinkDirect, signal.TransportUDP},
	} {
		p := link.Path{Rank: c.rank, Remote: c.remote}
		if kind, transport := kindOf(p), transportOf(p); kind != c.kind || transport != c.transport {
			t.Errorf("%v to %s: %d over %d, want %d over %d", c.rank, c.remote, kind, transport, c.kind, c.transport)
		}
	}
}

func TestOnlyChangedLinksAreReported(t *testing.T) {
	var sent []map[ident.PeerID]rvclient.LinkReport
	r := NewLinkReports(func(all map[ident.PeerID]rvclient.LinkReport) { sent = append(sent, all) })
	relayed := session.LinkStatus{Path: link.Path{Rank: link.RankRelayUDP}}
	direct := session.LinkStatus{Path: link.Path{Rank: link.RankPunched}, Stats: link.Stats{RTT: time.Millisecond}}
	a, b := ident.PeerID{1}, ident.PeerID{2}
	for i, step := range []struct {
		id    ident.PeerID
		link  session.LinkStatus
		up    bool
		sends int // after the step
	}{
		{a, session.LinkStatus{}, false, 0},
		{a, relayed, true, 1},
		{a, relayed, true, 1},
		{b, direct, true, 2},
		{a, direct, true, 3},
		{a, session.LinkStatus{}, false, 4},
		{a, session.LinkStatus{}, false, 4},
	} {
		r.Update(step.id, step.link, step.up)
		if len(sent) != step.sends {
			t.Fatalf("step %d: %d reports, want %d", i+1, len(sent), step.sends)
		}
	}
	last := sent[len(sent)-1]
	if len(last) != 1 || last[b].Kind != signal.LinkDirect || last[b].RTT != time.Millisecond {
		t.Errorf("the last report is %+v, want the direct link to %v alone", last, b)
	}
	if sent[0][a].Kind != signal.LinkRelayed {
		t.Errorf("the first report has changed since: %+v", sent[0])
	}
}
