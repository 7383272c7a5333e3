package peer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/path"
	wire "github.com/easyfind-usb/easyfind/proto/call"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// errBusy is the error of a call that gave way to the peer's own.
var errBusy = errors.New("the peer is calling at the same time, and its call goes first")

// iceRung is QUIC over whatever path ICE finds: direct, punched or relayed.
type iceRung struct{ c *call }

func (r *iceRung) Name() string    { return "UDP" }
func (r *iceRung) Rank() link.Rank { return link.RankHost }

// Dial offers, waits for the answer, checks, and dials.
func (r *iceRung) Dial(ctx context.Context) (link.Link, error) {
	c := r.c
	defer c.drop() // whatever the end, nobody needs to wait for an answer then
	ice, err := c.newICE(ctx, true)
	if err != nil {
		return nil, err
	}
	l, err := r.dial(ctx, ice)
	if err != nil {
		ice.close()
		return nil, err
	}
	return l, nil
}

func (r *iceRung) dial(ctx context.Context, ice *iceRun) (link.Link, error) {
	c := r.c
	description := ice.attempt.Local()
	offer := wire.Message{Kind: wire.KindOffer, Call: c.id, Description: &description, Direct: c.p.direct(), Upgrade: c.upgrade}
	if err := c.p.send(ctx, offer); err != nil {
		return nil, fmt.Errorf("call the peer: %w", err)
	}
	ice.exchange(ctx)
	var answer wire.Message
	select {
	case answer = <-c.answers:
	case <-ctx.Done():
		return nil, fmt.Errorf("the peer does not answer: %w", ctx.Err())
	}
	if answer.Kind != wire.KindAnswer {
		return nil, errBusy
	}
	result, err := ice.connect(ctx, *answer.Description)
	if err != nil {
		return nil, err
	}
	quic, p := c.p.cfg.Network.QUIC, pathOf(result)
	var l link.Link
	if result.Relayed != nil {
		l, err = quic.DialOver(ctx, result.Relayed, result.RemoteAddr, c.p.cfg.Peer, p)
	} else {
		l, err = quic.Dial(ctx, result.Remote, c.p.cfg.Peer, p)
	}
	if err != nil {
		return nil, err
	}
	return ice.hold(l, result), nil
}

// iceRun is an ICE attempt and the exchange of candidates around it.
type iceRun struct {
	c       *call
	attempt *path.Attempt
	own     chan wire.Candidate
	stop    context.CancelFunc
	joined  sync.WaitGroup
}

// newICE begins an attempt; what it finds waits for exchange.
func (c *call) newICE(ctx context.Context, controlling bool) (*iceRun, error) {
	servers, err := c.p.cfg.Network.Servers(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the rendezvous for its STUN and TURN servers: %w", err)
	}
	if c.upgrade {
		servers = withoutRelays(servers)
	}
	r := &iceRun{c: c, own: make(chan wire.Candidate, wire.MaxRemote), stop: func() {}}
	r.attempt, err = c.p.cfg.Network.Paths.NewAttempt(path.AttemptConfig{
		Controlling: controlling, Servers: servers,
		OnLocal: func(found wire.Candidate) {
			select {
			case r.own <- found:
			default: // more than the peer would use
			}
		},
	})
	return r, err
}

// exchange tells the peer what is found here and takes what the peer found,
// until close. It begins once the peer knows of the call: an earlier candidate
// would be dropped there.
func (r *iceRun) exchange(ctx context.Context) {
	ctx, r.stop = context.WithCancel(ctx)
	r.joined.Go(func() { r.trickle(ctx) })
}

func (r *iceRun) trickle(ctx context.Context) {
	for {
		select {
		case found := <-r.own:
			if err := r.c.p.send(ctx, wire.Message{Kind: wire.KindCandidate, Call: r.c.id, Candidate: &found}); err != nil {
				r.c.p.log.Debug("candidate not sent", "err", err)
			}
		case m := <-r.c.found:
			if err := r.attempt.AddRemote(*m.Candidate); err != nil {
				r.c.p.log.Debug("candidate of the peer not used", "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// connect runs the checks.
func (r *iceRun) connect(ctx context.Context, peer wire.Description) (path.Result, error) {
	result, err := r.attempt.Connect(ctx, peer)
	if err != nil {
		return result, err
	}
	r.c.p.mu.Lock()
	r.c.p.why = result.Why
	r.c.p.mu.Unlock()
	return result, nil
}

func (r *iceRun) close() {
	r.stop()
	r.attempt.Close()
	r.joined.Wait()
}

// hold makes a link keep its attempt, and with it the allocations of both ends,
// for as long as it lives. A direct path needs it no longer.
func (r *iceRun) hold(l link.Link, result path.Result) link.Link {
	if !result.Kind.Relayed() {
		r.close()
		return newHeldLink(l, pathOf(result), func() {})
	}
	return newHeldLink(l, pathOf(result), sync.OnceFunc(r.close))
}

// heldLink is a link that lets go of something when it ends.
type heldLink struct {
	link.Link
	info    link.Info
	release func()
}

// newHeldLink returns l with the path that ICE found.
func newHeldLink(l link.Link, found link.Path, release func()) heldLink {
	info := l.Info()
	info.Path = found
	return heldLink{l, info, release}
}

// Info describes the link with the path that ICE found, also for a link that
// was accepted.
func (h heldLink) Info() link.Info { return h.info }

// Run lets go when the link has ended.
func (h heldLink) Run(ctx context.Context, deliver func(tunnel.Frame) error) error {
	defer h.release()
	return h.Link.Run(ctx, deliver)
}

// Close of a link that never ran lets go too.
func (h heldLink) Close(reason string) {
	h.Link.Close(reason)
	go h.release()
}

// pathOf puts what ICE found into the ladder's words.
func pathOf(r path.Result) link.Path {
	rank := map[path.Kind]link.Rank{
		path.KindHost: link.RankHost, path.KindPunched: link.RankPunched,
		path.KindRelayUDP: link.RankRelayUDP, path.KindRelayTCP: link.RankRelayTCP, path.KindRelayTLS: link.RankRelayTLS,
	}[r.Kind]
	return link.Path{Rank: rank, Transport: "quic", Local: r.Local, Remote: r.RemoteString, Relay: r.Relay, Encrypted: true}
}

func withoutRelays(all []path.Server) []path.Server {
	var stun []path.Server
	for _, s := range all {
		if strings.HasPrefix(s.URL, "stun:") {
			stun = append(stun, s)
		}
	}
	return stun
}

// directRung dials an address that this agent knows of the peer.
type directRung struct {
	c       *call
	address string
}

func (r directRung) Name() string    { return r.address }
func (r directRung) Rank() link.Rank { return rankOf(r.address) }

func (r directRung) Dial(ctx context.Context) (link.Link, error) {
	return r.c.p.cfg.Network.DialDirect(ctx, r.address, r.c.p.cfg.Peer)
}

func rankOf(address string) link.Rank {
	if strings.HasPrefix(address, "tcp:") {
		return link.RankPlainTCP
	}
	return link.RankTLS
}

// toldRung dials the addresses that the peer tells when it answers.
type toldRung struct{ c *call }

func (r toldRung) Name() string    { return "TLS to the peer" }
func (r toldRung) Rank() link.Rank { return link.RankTLS }

func (r toldRung) Dial(ctx context.Context) (link.Link, error) {
	var addresses []string
	select {
	case addresses = <-r.c.told:
	case <-r.c.dropped:
		select {
		case addresses = <-r.c.told:
		default:
			return nil, errors.New("the peer did not answer")
		}
	case <-ctx.Done():
		return nil, fmt.Errorf("the peer does not answer: %w", ctx.Err())
	}
	if len(addresses) == 0 {
		return nil, errors.New("the peer takes no direct TLS connections")
	}
	var first link.Link
	steps := make([]link.Step, len(addresses))
	for i, a := range addresses {
		steps[i] = link.Step{Rung: directRung{r.c, a}}
	}
	ladder, err := link.NewLadder(link.LadderConfig{Steps: steps, Timeout: callTime, OnLink: func(l link.Link) {
		if first != nil {
			first.Close("a better path was found")
		}
		first = l
	}})
	if err != nil {
		return nil, err
	}
	if err := ladder.Run(ctx); err != nil {
		return nil, err
	}
	if first == nil {
		return nil, ctx.Err()
	}
	return first, nil
}
