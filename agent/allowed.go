package agent

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// allowAgain is how long a failed exchange with the rendezvous waits.
const allowAgain = 5 * time.Second

// pokeAllowed says that whom this agent allows may differ from what the
// rendezvous knows.
func (a *Agent) pokeAllowed() {
	select {
	case a.allowed <- struct{}{}:
	default: // there is none, or it is poked already
	}
}

// followAllowed keeps the rendezvous' list of those who may find this agent
// equal to the list of paired peers.
func (a *Agent) followAllowed(ctx context.Context) error {
	for {
		select {
		case <-a.allowed:
		case <-ctx.Done():
			return nil
		}
		if err := a.syncAllowed(ctx); err != nil && ctx.Err() == nil {
			a.log.Debug("list of allowed peers not told to the rendezvous", "err", err)
			retry := time.AfterFunc(allowAgain, a.pokeAllowed)
			defer retry.Stop()
		}
	}
}

func (a *Agent) syncAllowed(ctx context.Context) error {
	known, err := a.rendezvous.Allowed(ctx)
	if err != nil {
		return err
	}
	extra := map[ident.PeerID]bool{}
	for _, id := range known {
		extra[id] = true
	}
	for _, p := range a.store.State().Peers {
		if extra[p.ID] {
			delete(extra, p.ID)
			continue
		}
		if err := a.rendezvous.Allow(ctx, p.ID); err != nil {
			return err
		}
	}
	for id := range extra {
		if err := a.rendezvous.Disallow(ctx, id); err != nil {
			return err
		}
	}
	return nil
}
