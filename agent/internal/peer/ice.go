package peer

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/path"
	wire "github.com/easyfind-usb/easyfind/proto/call"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// errBusy is the error of a call that the peer refused because of its own call.
var errBusy = errors.New("the peer is calling at the same time, and its call goes first")

// iceRung makes a QUIC link over the path that ICE finds: direct, through NATs, or
// relayed.
type iceRung struct{ c *call }

func (r *iceRung) Name() string    { return "UDP" }
func (r *iceRung) Rank() link.Rank { return link.RankHost }

func (r *iceRung) Dial(ctx context.Context) (link.Link, error) {
	c := r.c
	defer c.stopWait() // an answer comes while this rung dials, or never
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

func (r *iceRung) dial(ctx context.Context, ice *iceAttempt) (link.Link, error) {
	c := r.c
	description := ice.attempt.Local()
	offer := wire.Message{
		Kind: wire.KindOffer, Call: c.id, Description: &description, Direct: c.k.ownAddresses(), Upgrade: c.upgrade,
	}
	if err := c.k.signal.send(ctx, offer); err != nil {
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
	quic, p := c.k.cfg.Network.QUIC, pathOf(result)
	var l link.Link
	if result.Relayed != nil {
		l, err = quic.DialOver(ctx, result.Relayed, result.RemoteAddr, c.k.cfg.Peer, p)
	} else {
		l, err = quic.Dial(ctx, result.Remote, c.k.cfg.Peer, p)
	}
	if err != nil {
		return nil, err
	}
	return ice.keepFor(l, result), nil
}

// iceAttempt is an ICE attempt and the exchange of its candidates.
type iceAttempt struct {
	c       *call
	attempt *path.Attempt
	local   chan wire.Candidate // candidates to send
	stop    context.CancelFunc
	joined  sync.WaitGroup
}

// newICE begins an attempt. Its candidates wait for exchange.
func (c *call) newICE(ctx context.Context, controlling bool) (*iceAttempt, error) {
	servers, err := c.k.cfg.Network.Servers(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the rendezvous for its STUN and TURN servers: %w", err)
	}
	if c.upgrade {
		servers = upgradeServers(servers)
	}
	r := &iceAttempt{c: c, local: make(chan wire.Candidate, wire.MaxRemote), stop: func() {}}
	r.attempt, err = c.k.cfg.Network.Paths.NewAttempt(path.AttemptConfig{
		Controlling: controlling, Servers: servers,
		OnLocal: func(found wire.Candidate) {
			select {
			case r.local <- found:
			default: // the peer would not use more
			}
		},
	})
	return r, err
}

// exchange exchanges candidates with the peer until close. It must be called after
// the peer has received the offer or the answer: the peer drops candidates of a
// call that it does not know.
func (r *iceAttempt) exchange(ctx context.Context) {
	ctx, r.stop = context.WithCancel(ctx)
	r.joined.Go(func() { r.trickle(ctx) })
}

func (r *iceAttempt) trickle(ctx context.Context) {
	for {
		select {
		case found := <-r.local:
			m := wire.Message{Kind: wire.KindCandidate, Call: r.c.id, Candidate: &found}
			if err := r.c.k.signal.send(ctx, m); err != nil {
				r.c.k.log.Debug("cannot send a candidate", "err", err)
			}
		case m := <-r.c.candidates:
			if err := r.attempt.AddRemote(*m.Candidate); err != nil {
				r.c.k.log.Debug("cannot use a candidate of the peer", "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// connect runs the connectivity checks.
func (r *iceAttempt) connect(ctx context.Context, peer wire.Description) (path.Result, error) {
	result, err := r.attempt.Connect(ctx, peer)
	if err != nil {
		return result, err
	}
	r.c.k.outcome.setPath(result)
	return result, nil
}

func (r *iceAttempt) close() {
	r.stop()
	r.attempt.Close()
	r.joined.Wait()
}

// keepFor keeps the attempt open until the link ends, because it owns the
// allocation of a relayed path. A direct path does not need it: it is closed now.
func (r *iceAttempt) keepFor(l link.Link, result path.Result) link.Link {
	info := l.Info()
	info.Path = pathOf(result) // an accepted link does not know it
	if !result.Kind.Relayed() {
		r.close()
		return &pathLink{l, info, func() {}}
	}
	return &pathLink{l, info, sync.OnceFunc(r.close)}
}

// pathLink is a link over a path of ICE. It releases the path when it ends.
type pathLink struct {
	link.Link
	info    link.Info
	release func()
}

func (l *pathLink) Info() link.Info { return l.info }

func (l *pathLink) Run(ctx context.Context, deliver func(tunnel.Frame) error) error {
	defer l.release()
	return l.Link.Run(ctx, deliver)
}

// Close also releases the path of a link that never ran. It does not wait.
func (l *pathLink) Close(reason string) {
	l.Link.Close(reason)
	go l.release()
}
