package server

import (
	"context"
	"errors"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/hub"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/history"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/services"
)

// revoke ends the connection and the allocations of a peer that was revoked at a moment.
func (p *parts) revoke(id ident.PeerID, at time.Time) {
	p.hub.Revoke(id)
	p.relay.Revoke(id, at)
}

// updateNeighbours lets the relay reach the relayed addresses of the other instances.
func (p *parts) updateNeighbours(others []presence.Instance) {
	var ranges []relay.Range
	for _, i := range others {
		if r, err := relay.ParseRange(i.Relay); err == nil { // an instance of an older version has none
			ranges = append(ranges, r)
		}
	}
	p.relay.SetNeighbours(ranges)
}

// figures returns the figures of this instance for the history.
func (p *parts) figures() history.Figures {
	used := p.relay.Usage()
	f := history.Figures{
		Holder: p.cluster.Holder(), Peers: p.hub.Count(),
		RelayBytes:   int64(used.FromClients.Bytes + used.ToClients.Bytes),
		RelayPackets: int64(used.FromClients.Packets + used.ToClients.Packets),
	}
	for _, u := range used.Peers {
		f.Relay = append(f.Relay, history.RelayUse{
			Peer: u.Peer, SentBytes: int64(u.FromClients.Bytes), SentPackets: int64(u.FromClients.Packets),
			ReceivedBytes: int64(u.ToClients.Bytes), ReceivedPackets: int64(u.ToClients.Packets),
		})
	}
	return f
}

// admission decides for the hub which peers may connect and send messages.
type admission struct{ services *services.Services }

// Admit returns nil if a peer may connect.
func (a admission) Admit(ctx context.Context, id ident.PeerID) error {
	_, err := a.services.Directory.Peer(ctx, id)
	if !errors.Is(err, peers.ErrNotFound) {
		return err
	}
	switch revoked, err := a.services.Revocations.Revoked(ctx, id); {
	case err != nil:
		return err
	case revoked:
		return hub.ErrRevoked
	}
	return hub.ErrUnknown
}

// Allowed reports whether the receiver of a route accepts messages of the sender.
func (a admission) Allowed(ctx context.Context, r hub.Route) (bool, error) {
	return a.services.AllowList.Allowed(ctx, peers.Permission{Owner: r.To, Peer: r.From})
}
