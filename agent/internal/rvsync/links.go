package rvsync

import (
	"maps"
	"net/netip"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/rvclient"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// LinkReports reports to the rendezvous whether the links to peers are direct or
// relayed, and the transport that they use. A report contains no address.
type LinkReports struct {
	send func(map[ident.PeerID]rvclient.LinkReport)

	mu    sync.Mutex // guards links
	links map[ident.PeerID]rvclient.LinkReport
}

// NewLinkReports returns reports that send passes to the rendezvous. send receives
// the links to all peers. It must not block.
func NewLinkReports(send func(map[ident.PeerID]rvclient.LinkReport)) *LinkReports {
	return &LinkReports{send: send, links: map[ident.PeerID]rvclient.LinkReport{}}
}

// Update notes the active link to a peer, or that no link is up.
func (r *LinkReports) Update(id ident.PeerID, active session.LinkStatus, up bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, reported := r.links[id]
	if !up {
		if reported {
			delete(r.links, id)
			r.send(maps.Clone(r.links))
		}
		return
	}
	now := rvclient.LinkReport{Kind: kindOf(active.Path), Transport: transportOf(active.Path), RTT: active.Stats.RTT}
	if now != before {
		r.links[id] = now
		r.send(maps.Clone(r.links))
	}
}

// kindOf recognises a link within one network by its remote address.
func kindOf(p link.Path) signal.LinkKind {
	if p.Rank.Relayed() {
		return signal.LinkRelayed
	}
	if at, err := netip.ParseAddrPort(p.Remote); err == nil {
		if ip := at.Addr().Unmap(); ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsLoopback() {
			return signal.LinkLAN
		}
	}
	return signal.LinkDirect
}

// transportOf returns the transport of a link. For a relayed link it is the
// transport between this agent and the relay.
func transportOf(p link.Path) signal.Transport {
	switch {
	case p.Rank == link.RankRelayTLS, p.Rank == link.RankTLS:
		return signal.TransportTLS
	case p.Rank == link.RankRelayTCP, p.Rank == link.RankPlainTCP:
		return signal.TransportTCP
	}
	return signal.TransportUDP
}
