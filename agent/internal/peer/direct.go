package peer

import (
	"context"
	"slices"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	wire "github.com/easyfind-usb/easyfind/proto/call"
)

// seekDirect looks for a link over TCP in addition to the active one over UDP, which carries little. Only one of the
// peers may accept connections. So this agent dials, and asks the peer to dial, too.
func (k *caller) seekDirect(ctx context.Context) {
	k.dialDirect(ctx)
	if !k.signal.available() {
		return
	}
	m := wire.Message{Kind: wire.KindDial, Call: wire.NewID(), Direct: k.ownAddresses()}
	k.running.Go(func() {
		if err := k.signal.send(ctx, m); err != nil {
			k.log.Debug("cannot ask the peer to dial", "err", err)
		}
	})
}

// dialDirect dials the addresses at which the peer accepts links without ICE, unless it is dialing them already. The
// session gets the first link, and each better one.
func (k *caller) dialDirect(ctx context.Context) {
	addresses := slices.Concat(k.cfg.Addresses(), k.direct)
	if k.dialing || len(addresses) == 0 {
		return
	}
	steps := make([]link.Step, len(addresses))
	for i, a := range addresses {
		steps[i] = link.Step{Rung: directRung{k, a}}
	}
	ladder, err := link.NewLadder(link.LadderConfig{Steps: steps, Timeout: callTimeout, OnLink: k.session.Join})
	if err != nil {
		k.log.Warn("cannot dial the peer", "err", err)
		return
	}
	k.dialing = true
	k.running.Go(func() {
		if err := ladder.Run(ctx); err != nil {
			k.log.Debug("dialing the peer over TCP failed", "err", err)
		}
		select {
		case k.dialed <- struct{}{}:
		case <-ctx.Done():
		}
	})
}

// ownAddresses returns the direct addresses of this agent, for the peer.
func (k *caller) ownAddresses() []string {
	all := k.cfg.Network.Direct()
	return all[:min(len(all), wire.MaxDirect)]
}
