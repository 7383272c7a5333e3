package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/pairing"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Peers implements localapi.Backend.
func (a *Agent) Peers(context.Context) ([]localapi.Peer, error) {
	list := []localapi.Peer{}
	for _, p := range a.store.State().Peers {
		list = append(list, a.peerOf(p))
	}
	return list, nil
}

func (a *Agent) peerOf(p state.Peer) localapi.Peer {
	r := a.peers.get(p.ID)
	return localapi.Peer{
		ID: p.ID, Name: p.Name, PairedAt: p.PairedAt, Addresses: p.Addresses,
		Connected: r != nil && r.Session().Status().Linked,
	}
}

// Forget implements localapi.Backend.
func (a *Agent) Forget(_ context.Context, who string) error {
	p, err := a.find(who)
	if err != nil {
		return err
	}
	return problem(a.store.ForgetPeer(p.ID))
}

// Reach implements localapi.Backend.
func (a *Agent) Reach(_ context.Context, r localapi.ReachRequest) (localapi.Peer, error) {
	p, err := a.find(r.Peer)
	if err != nil {
		return localapi.Peer{}, err
	}
	if err := a.store.SetAddresses(p.ID, r.Addresses); err != nil {
		return localapi.Peer{}, problem(err)
	}
	if running := a.peers.get(p.ID); running != nil {
		running.Retry()
	}
	p.Addresses = r.Addresses
	return a.peerOf(p), nil
}

// find finds a paired peer by its name or ID.
func (a *Agent) find(who string) (state.Peer, error) {
	known := a.store.State()
	p, err := known.Find(who)
	return p, problem(err)
}

var errNoRendezvous = &localapi.Problem{
	Code:   localapi.CodeUnreachable,
	Detail: "pairing needs a rendezvous, and none is set: start the agent with --rendezvous and the join link that the rendezvous printed",
}

// OfferPairing implements localapi.Backend.
func (a *Agent) OfferPairing(ctx context.Context, progress func(localapi.Progress)) (localapi.Peer, error) {
	if a.pairing == nil {
		return localapi.Peer{}, errNoRendezvous
	}
	offer, err := a.pairing.Offer(ctx)
	if err != nil {
		return localapi.Peer{}, a.pairingProblem(err)
	}
	progress(localapi.Progress{Offered: &localapi.Offered{Address: offer.Address, PIN: offer.PIN, Expires: offer.Expires}})
	made, err := offer.Wait(ctx, func(left int) {
		progress(localapi.Progress{Message: fmt.Sprintf("a wrong PIN was tried; %d tries are left", left)})
	})
	return a.paired(made, err)
}

// JoinPairing implements localapi.Backend.
func (a *Agent) JoinPairing(ctx context.Context, r localapi.JoinRequest, progress func(localapi.Progress)) (localapi.Peer, error) {
	if a.pairing == nil {
		return localapi.Peer{}, errNoRendezvous
	}
	address, err := ident.ParseAddress(string(r.Address))
	if err != nil {
		return localapi.Peer{}, &localapi.Problem{Code: localapi.CodeInvalid, Detail: err.Error()}
	}
	pin, err := ident.ParsePIN(string(r.PIN))
	if err != nil {
		return localapi.Peer{}, &localapi.Problem{Code: localapi.CodeInvalid, Detail: err.Error()}
	}
	progress(localapi.Progress{Message: "asking the machine that offers " + string(address)})
	made, err := a.pairing.Join(ctx, address, pin)
	return a.paired(made, err)
}

// paired remembers the peer that a pairing made.
func (a *Agent) paired(made pairing.Peer, err error) (localapi.Peer, error) {
	if err != nil {
		return localapi.Peer{}, a.pairingProblem(err)
	}
	kept, err := a.store.AddPeer(state.Peer{
		ID: made.ID, PublicKey: made.PublicKey, Name: made.Name, PairedAt: time.Now(), Addresses: made.Addresses,
	})
	if err != nil {
		return localapi.Peer{}, problem(err)
	}
	a.log.Info("paired", "with", kept.Name, "id", kept.ID.String())
	return a.peerOf(kept), nil
}

// pairingProblem says why a pairing failed.
func (a *Agent) pairingProblem(err error) error {
	for _, known := range []error{pairing.ErrWrongPIN, pairing.ErrUnknownAddress, pairing.ErrExpired, pairing.ErrBurned, pairing.ErrNoAnswer, pairing.ErrSelf} {
		if errors.Is(err, known) {
			return &localapi.Problem{Code: localapi.CodePairing, Detail: err.Error()}
		}
	}
	if s := a.rendezvous.State(); !s.Connected {
		return &localapi.Problem{Code: localapi.CodeUnreachable, Detail: "the rendezvous is needed for pairing: " + s.Reason}
	}
	return problem(err)
}
