package agent

import (
	"context"
	"net/netip"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/rvclient"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// pokePaths says that the links to peers may be others now.
func (a *Agent) pokePaths() {
	select {
	case a.pathsChanged <- struct{}{}:
	default: // nobody is told, or it is poked already
	}
}

// followPaths tells the rendezvous whether the links to peers are direct or
// relayed, and over what; neither addresses nor what they carry.
func (a *Agent) followPaths(ctx context.Context) error {
	for {
		now := map[ident.PeerID]rvclient.Path{}
		for _, r := range a.peers.list() {
			for _, l := range r.Status().Session.Links {
				if l.Active {
					now[r.id] = rvclient.Path{Kind: pathKind(l.Path), Transport: transportOf(l.Path), RTT: l.Stats.RTT}
				}
			}
		}
		a.rendezvous.TellPaths(now)
		select {
		case <-a.pathsChanged:
		case <-ctx.Done():
			return nil
		}
	}
}

// pathKind tells a link within one network by the far address.
func pathKind(p link.Path) signal.PathKind {
	if p.Rank.Relayed() {
		return signal.PathRelayed
	}
	if at, err := netip.ParseAddrPort(p.Remote); err == nil {
		if ip := at.Addr().Unmap(); ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsLoopback() {
			return signal.PathLAN
		}
	}
	return signal.PathDirect
}

// transportOf is what carries the packets, of a relayed link as far as the
// relay.
func transportOf(p link.Path) signal.Transport {
	switch {
	case p.Rank == link.RankRelayTLS, p.Rank == link.RankTLS:
		return signal.TransportTLS
	case p.Rank == link.RankRelayTCP, p.Rank == link.RankPlainTCP:
		return signal.TransportTCP
	}
	return signal.TransportUDP
}
