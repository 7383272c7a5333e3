package peer

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/path"
)

// directDelay is the head start of UDP. A direct TCP link that is faster to set
// up than the better UDP link would otherwise win for a moment.
const directDelay = time.Second

// newLadder returns the ways in which a call tries to reach the peer:
//
//	UDP, over the path that ICE finds                   with a rendezvous
//	TLS or TCP to each configured address of the peer   after directDelay; not for an upgrade
//	TLS to the addresses in the peer's answer           likewise, with a rendezvous
//
// All ways are tried side by side. The session gets the first link, and each
// better one that follows.
func (c *call) newLadder() (*link.Ladder, error) {
	var steps []link.Step
	signalled := c.k.signal.available()
	delay := time.Duration(0)
	if signalled {
		steps = append(steps, link.Step{Rung: &iceRung{c}})
		delay = directDelay
	}
	if !c.upgrade {
		for _, address := range c.k.cfg.Addresses() {
			steps = append(steps, link.Step{Rung: directRung{c.k, address}, Delay: delay})
		}
		if signalled {
			steps = append(steps, link.Step{Rung: answeredRung{c}, Delay: delay})
		}
	}
	return link.NewLadder(link.LadderConfig{Steps: steps, Timeout: callTimeout, OnLink: c.k.session.Join})
}

// canUpgrade reports whether a call may find a better link than one of that rank.
func canUpgrade(rank link.Rank) bool { return rank < link.RankPunched }

// upgradeServers returns the servers that help a call for a direct link: the STUN
// servers, without the relays.
func upgradeServers(all []path.Server) []path.Server {
	var stun []path.Server
	for _, s := range all {
		if strings.HasPrefix(s.URL, "stun:") {
			stun = append(stun, s)
		}
	}
	return stun
}

// pathOf converts a path that ICE found.
func pathOf(r path.Result) link.Path {
	rank := map[path.Kind]link.Rank{
		path.KindHost: link.RankHost, path.KindPunched: link.RankPunched,
		path.KindRelayUDP: link.RankRelayUDP, path.KindRelayTCP: link.RankRelayTCP,
		path.KindRelayTLS: link.RankRelayTLS,
	}[r.Kind]
	return link.Path{
		Rank: rank, Transport: "quic", Local: r.Local, Remote: r.RemoteString, Relay: r.Relay, Encrypted: true,
	}
}

// directRung dials a configured address of the peer.
type directRung struct {
	k       *caller
	address string
}

func (r directRung) Name() string { return r.address }

func (r directRung) Rank() link.Rank {
	if strings.HasPrefix(r.address, "tcp:") {
		return link.RankPlainTCP
	}
	return link.RankTLS
}

func (r directRung) Dial(ctx context.Context) (link.Link, error) {
	return r.k.cfg.Network.DialDirect(ctx, r.address, r.k.cfg.Peer)
}

// answeredRung dials the addresses in the peer's answer.
type answeredRung struct{ c *call }

func (r answeredRung) Name() string    { return "TLS to the peer" }
func (r answeredRung) Rank() link.Rank { return link.RankTLS }

func (r answeredRung) Dial(ctx context.Context) (link.Link, error) {
	addresses, err := r.c.awaitDirect(ctx)
	if err != nil {
		return nil, err
	}
	if len(addresses) == 0 {
		return nil, errors.New("the peer accepts no direct TLS connections")
	}
	var best link.Link
	steps := make([]link.Step, len(addresses))
	for i, a := range addresses {
		steps[i] = link.Step{Rung: directRung{r.c.k, a}}
	}
	ladder, err := link.NewLadder(link.LadderConfig{Steps: steps, Timeout: callTimeout, OnLink: func(l link.Link) {
		if best != nil {
			best.Close("a better path was found")
		}
		best = l
	}})
	if err != nil {
		return nil, err
	}
	if err := ladder.Run(ctx); err != nil {
		return nil, err
	}
	if best == nil {
		return nil, ctx.Err()
	}
	return best, nil
}
