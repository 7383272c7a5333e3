package backend

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/peers"
	"github.com/easyfind-usb/easyfind/agent/internal/rvclient"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

const (
	reachTimeout = 30 * time.Second // for a peer that a command names
	listTimeout  = 5 * time.Second  // for each peer when all are listed
)

// Remote lists the devices that peers share with this machine.
type Remote struct {
	Store      *state.Store
	Set        *peers.Set
	Rendezvous *rvclient.Client // nil: none
	Logger     *slog.Logger
}

// listAll returns the devices of all peers that can be reached.
func (r Remote) listAll(ctx context.Context) []localapi.RemoteDevice {
	paired := r.Store.State().Peers
	lists := make([][]localapi.RemoteDevice, len(paired))
	var joined sync.WaitGroup
	for i, p := range paired {
		joined.Go(func() {
			var err error
			if lists[i], err = r.list(ctx, p, listTimeout); err != nil {
				r.Logger.Debug("cannot list the devices of a peer", "peer", p.ID.Short(), "err", err)
			}
		})
	}
	joined.Wait()
	all := []localapi.RemoteDevice{}
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

// list returns the devices of one peer.
func (r Remote) list(ctx context.Context, p state.Peer, timeout time.Duration) ([]localapi.RemoteDevice, error) {
	devices, err := r.devices(ctx, p, timeout)
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, u := range r.Store.State().Uses {
		if u.Peer == p.ID {
			used[u.Device] = true
		}
	}
	list := make([]localapi.RemoteDevice, 0, len(devices))
	for _, d := range devices {
		i := session.InfoOf(d)
		list = append(list, localapi.RemoteDevice{
			Peer: p.Name, ID: d.ID, Name: d.Name, VendorID: d.Vendor, ProductID: d.Product, Serial: d.Serial,
			Speed: speedName(i.Speed), Kind: kindName(i), InUseBy: d.InUseBy, Used: used[d.ID],
		})
	}
	return list, nil
}

// devices reaches a peer and returns its list of devices.
func (r Remote) devices(ctx context.Context, p state.Peer, timeout time.Duration) ([]tunnel.Device, error) {
	s, release, err := r.Set.Want(p.ID)
	if err != nil {
		return nil, problem(err)
	}
	defer release()
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	devices, err := s.Devices(waiting)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		return nil, r.unreachable(p)
	}
	return devices, problem(err)
}

// unreachable explains why a peer cannot be reached. The peer may have been forgotten
// since.
func (r Remote) unreachable(p state.Peer) error {
	running := r.Set.Get(p.ID)
	if running == nil {
		return problem(state.ErrUnknownPeer)
	}
	reason := running.Reason()
	if r.Rendezvous != nil {
		if s := r.Rendezvous.State(); !s.Connected {
			reason = s.Reason
		}
	}
	if reason == "" {
		reason = "it has not answered yet; is its agent running?"
	}
	return &localapi.Problem{Code: localapi.CodeUnreachable, Detail: p.Name + " cannot be reached: " + reason}
}
