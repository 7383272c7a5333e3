package backend

import (
	"context"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/peers"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
)

// Peers implements localapi.Peers.
type Peers struct {
	Store *state.Store
	Set   *peers.Set
}

// Peers implements localapi.Peers.
func (p Peers) Peers(context.Context) ([]localapi.Peer, error) {
	list := []localapi.Peer{}
	for _, paired := range p.Store.State().Peers {
		list = append(list, p.view(paired))
	}
	return list, nil
}

func (p Peers) view(paired state.Peer) localapi.Peer {
	return localapi.Peer{
		ID: paired.ID, Name: paired.Name, PairedAt: paired.PairedAt, Addresses: paired.Addresses,
		Connected: p.Set.Linked(paired.ID), Limit: paired.Limit,
	}
}

// Forget implements localapi.Peers.
func (p Peers) Forget(_ context.Context, name string) error {
	paired, err := findPeer(p.Store, name)
	if err != nil {
		return err
	}
	return problem(p.Store.ForgetPeer(paired.ID))
}

// Reach implements localapi.Peers.
func (p Peers) Reach(_ context.Context, r localapi.ReachRequest) (localapi.Peer, error) {
	paired, err := findPeer(p.Store, r.Peer)
	if err != nil {
		return localapi.Peer{}, err
	}
	if err := p.Store.SetAddresses(paired.ID, r.Addresses); err != nil {
		return localapi.Peer{}, problem(err)
	}
	if running := p.Set.Get(paired.ID); running != nil {
		running.Retry()
	}
	paired.Addresses = r.Addresses
	return p.view(paired), nil
}

// Limit implements localapi.Peers. The runner of the peer watches the store.
func (p Peers) Limit(_ context.Context, r localapi.LimitRequest) (localapi.Peer, error) {
	paired, err := findPeer(p.Store, r.Peer)
	if err != nil {
		return localapi.Peer{}, err
	}
	if err := p.Store.SetLimit(paired.ID, r.Limit); err != nil {
		return localapi.Peer{}, problem(err)
	}
	paired.Limit = r.Limit
	return p.view(paired), nil
}

// findPeer returns the paired peer with that name or beginning of an ID.
func findPeer(store *state.Store, nameOrID string) (state.Peer, error) {
	known := store.State()
	p, err := known.Find(nameOrID)
	return p, problem(err)
}
