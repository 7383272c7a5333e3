package backend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/pairing"
	"github.com/easyfind-usb/easyfind/agent/internal/rvclient"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Pairing implements localapi.Pairing.
type Pairing struct {
	Pairing    *pairing.Pairing // nil: the agent has no rendezvous
	Rendezvous *rvclient.Client // nil if Pairing is
	Store      *state.Store     // for the new peers
	Peers      Peers
	Logger     *slog.Logger
}

var errNoRendezvous = &localapi.Problem{
	Code: localapi.CodeUnreachable,
	Detail: "pairing needs a rendezvous, and none is set: " +
		"start the agent with --rendezvous and the join link that the rendezvous printed",
}

// OfferPairing implements localapi.Pairing.
func (p Pairing) OfferPairing(ctx context.Context, progress func(localapi.Progress)) (localapi.Peer, error) {
	if p.Pairing == nil {
		return localapi.Peer{}, errNoRendezvous
	}
	offer, err := p.Pairing.Offer(ctx)
	if err != nil {
		return localapi.Peer{}, p.problem(err)
	}
	progress(localapi.Progress{Offered: &localapi.Offer{
		Address: offer.Address, PIN: offer.PIN, Expires: offer.Expires,
	}})
	made, err := offer.Wait(ctx, func(left int) {
		progress(localapi.Progress{Message: fmt.Sprintf("a wrong PIN was tried; %d tries are left", left)})
	})
	return p.add(made, err)
}

// JoinPairing implements localapi.Pairing.
func (p Pairing) JoinPairing(
	ctx context.Context, r localapi.JoinRequest, progress func(localapi.Progress),
) (localapi.Peer, error) {
	if p.Pairing == nil {
		return localapi.Peer{}, errNoRendezvous
	}
	address, err := ident.ParseAddress(string(r.Address))
	if err != nil {
		return localapi.Peer{}, invalid("%v", err)
	}
	pin, err := ident.ParsePIN(string(r.PIN))
	if err != nil {
		return localapi.Peer{}, invalid("%v", err)
	}
	progress(localapi.Progress{Message: "asking the machine that offers " + string(address)})
	made, err := p.Pairing.Join(ctx, address, pin)
	return p.add(made, err)
}

// add stores the peer of a successful pairing.
func (p Pairing) add(made pairing.Peer, err error) (localapi.Peer, error) {
	if err != nil {
		return localapi.Peer{}, p.problem(err)
	}
	stored, err := p.Store.AddPeer(state.Peer{
		ID: made.ID, PublicKey: made.PublicKey, Name: made.Name, PairedAt: time.Now(), Addresses: made.Addresses,
	})
	if err != nil {
		return localapi.Peer{}, problem(err)
	}
	p.Logger.Info("paired with a peer", "peer", stored.ID.Short(), "name", stored.Name)
	return p.Peers.view(stored), nil
}

// problem explains a failed pairing.
func (p Pairing) problem(err error) error {
	for _, known := range []error{
		pairing.ErrWrongPIN, pairing.ErrUnknownAddress, pairing.ErrExpired, pairing.ErrBurned, pairing.ErrNoAnswer,
		pairing.ErrSelf,
	} {
		if errors.Is(err, known) {
			return &localapi.Problem{Code: localapi.CodePairing, Detail: err.Error()}
		}
	}
	if s := p.Rendezvous.State(); !s.Connected {
		return &localapi.Problem{
			Code: localapi.CodeUnreachable, Detail: "the rendezvous is needed for pairing: " + s.Reason,
		}
	}
	return problem(err)
}
