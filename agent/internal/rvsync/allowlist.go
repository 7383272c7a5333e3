package rvsync

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// retryInterval is the time from a failed update of the list to the next try.
const retryInterval = 5 * time.Second

// Rendezvous stores the list of peers that may find this agent.
type Rendezvous interface {
	Allowed(ctx context.Context) ([]ident.PeerID, error)
	Allow(ctx context.Context, id ident.PeerID) error
	Disallow(ctx context.Context, id ident.PeerID) error
}

// AllowListConfig holds the settings of an [AllowList]. Every field is required.
type AllowListConfig struct {
	Rendezvous Rendezvous
	Store      *state.Store // of the paired peers
	// Connected receives a value when the connection to the rendezvous is up again.
	Connected <-chan struct{}
	Logger    *slog.Logger
}

// AllowList makes the list at the rendezvous equal to the list of paired peers.
type AllowList struct{ cfg AllowListConfig }

// NewAllowList creates an allow list. Run starts it.
func NewAllowList(cfg AllowListConfig) (*AllowList, error) {
	if cfg.Rendezvous == nil || cfg.Store == nil || cfg.Connected == nil || cfg.Logger == nil {
		return nil, errors.New("allow list: a required field of the configuration is missing")
	}
	return &AllowList{cfg}, nil
}

// Run updates the list when a peer is paired or forgotten, and when the rendezvous
// is connected again, until ctx ends.
func (a *AllowList) Run(ctx context.Context) error {
	changed, stop := a.cfg.Store.Watch(state.PartPeers)
	defer stop()
	retry := time.NewTimer(0) // the first update is due now
	defer retry.Stop()
	for {
		select {
		case <-changed:
		case <-a.cfg.Connected:
		case <-retry.C:
		case <-ctx.Done():
			return nil
		}
		retry.Stop()
		if err := a.update(ctx); err != nil && ctx.Err() == nil {
			a.cfg.Logger.Debug("cannot update the list of allowed peers", "retry_in", retryInterval, "err", err)
			retry.Reset(retryInterval)
		}
	}
}

func (a *AllowList) update(ctx context.Context) error {
	allowed, err := a.cfg.Rendezvous.Allowed(ctx)
	if err != nil {
		return err
	}
	extra := map[ident.PeerID]bool{}
	for _, id := range allowed {
		extra[id] = true
	}
	for _, p := range a.cfg.Store.State().Peers {
		if extra[p.ID] {
			delete(extra, p.ID)
			continue
		}
		if err := a.cfg.Rendezvous.Allow(ctx, p.ID); err != nil {
			return err
		}
	}
	for id := range extra {
		if err := a.cfg.Rendezvous.Disallow(ctx, id); err != nil {
			return err
		}
	}
	return nil
}
