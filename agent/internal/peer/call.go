package peer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/path"
	wire "github.com/easyfind-usb/easyfind/proto/call"
)

// directDelay lets UDP go first where both may work.
const directDelay = time.Second

// settleTime is how long a link that was just made has to become the session's.
const settleTime = 3 * time.Second

// call is one attempt of the two peers together to make a link.
type call struct {
	p       *Peer
	id      string
	calling bool // this end began it: it controls ICE and dials
	upgrade bool // only a direct path helps
	cancel  context.CancelFunc

	answers  chan wire.Message // the answer or busy; one is enough
	found    chan wire.Message // the peer's candidates
	accepted chan link.Link
	told     chan []string // the peer's direct addresses, once
	dropped  chan struct{} // closed when no answer will come
	drop     func()
}

func (p *Peer) newCall(id string, calling, upgrade bool) (*call, context.Context) {
	ctx, cancel := context.WithTimeout(p.ctx, callTime)
	c := &call{
		p: p, id: id, calling: calling, upgrade: upgrade, cancel: cancel,
		answers: make(chan wire.Message, 1), found: make(chan wire.Message, wire.MaxRemote),
		accepted: make(chan link.Link, 1), told: make(chan []string, 1), dropped: make(chan struct{}),
	}
	c.drop = sync.OnceFunc(func() { close(c.dropped) })
	p.call = c
	p.mu.Lock()
	p.calling = true
	p.mu.Unlock()
	p.cfg.Changed()
	return c, ctx
}

// begin calls the peer.
func (p *Peer) begin(id string, upgrade bool) {
	c, ctx := p.newCall(id, true, upgrade)
	p.calls.Go(func() {
		defer c.cancel()
		err := c.place(ctx)
		p.do(func() { p.ended(c, err) })
	})
}

// answer takes part in a call of the peer.
func (p *Peer) answer(offer wire.Message) {
	c, ctx := p.newCall(offer.Call, false, offer.Upgrade)
	p.calls.Go(func() {
		defer c.cancel()
		err := c.join(ctx, offer)
		p.do(func() { p.ended(c, err) })
	})
}

// ended notes the end of a call and when to try again.
func (p *Peer) ended(c *call, err error) {
	select {
	case l := <-c.accepted:
		p.session.Join(l)
		err = nil
	default:
	}
	if p.call != c {
		return
	}
	p.call = nil
	p.retryAt = time.Now().Add(settleTime)
	p.mu.Lock()
	p.calling, p.problem = false, ""
	if err != nil {
		p.problem = explain(err)
	}
	p.mu.Unlock()
	if err != nil {
		p.log.Info("call failed", "calling", c.calling, "upgrade", c.upgrade, "err", err)
		p.retry = min(max(2*p.retry, retryFirst), retryMost)
		p.retryAt = time.Now().Add(p.retry)
		if !p.linked {
			p.probe()
		}
	}
	p.cfg.Changed()
}

// explain is the sentence of an error for a person.
func explain(err error) string {
	if e, ok := errors.AsType[interface {
		error
		Explain() string
	}](err); ok {
		return e.Explain()
	}
	return err.Error()
}

// hear gives a running call a message that belongs to it. What does not fit in
// its queues is more than an honest peer sends.
func (c *call) hear(m wire.Message) {
	queue := c.answers
	if m.Kind == wire.KindCandidate {
		queue = c.found
	}
	select {
	case queue <- m:
	default:
	}
	if m.Kind == wire.KindAnswer {
		select {
		case c.told <- m.Direct:
		default:
		}
	}
}

// take keeps an accepted link for the call if it waits for one.
func (c *call) take(l link.Link) bool {
	if c.calling {
		return false
	}
	select {
	case c.accepted <- l:
		return true
	default:
		return false
	}
}

// place makes a call: every way at once, the best that works wins.
func (c *call) place(ctx context.Context) error {
	ladder, err := link.NewLadder(link.LadderConfig{Steps: c.steps(), Timeout: callTime, OnLink: c.p.session.Join})
	if err != nil {
		return err
	}
	if !c.upgrade {
		c.p.mu.Lock()
		c.p.ladder = ladder
		c.p.mu.Unlock()
	}
	return ladder.Run(ctx)
}

// steps are the ways to try.
func (c *call) steps() []link.Step {
	var steps []link.Step
	delay := time.Duration(0)
	if c.p.cfg.Network.Signal != nil {
		steps = append(steps, link.Step{Rung: &iceRung{c}})
		delay = directDelay
	}
	if c.upgrade {
		return steps
	}
	for _, address := range c.p.cfg.Addresses() {
		steps = append(steps, link.Step{Rung: directRung{c, address}, Delay: delay})
	}
	if c.p.cfg.Network.Signal != nil {
		steps = append(steps, link.Step{Rung: toldRung{c}, Delay: delay})
	}
	return steps
}

// join is the called end: ICE, and then waiting for the caller to dial.
func (c *call) join(ctx context.Context, offer wire.Message) error {
	ice, err := c.newICE(ctx, false)
	if err != nil {
		return err
	}
	description := ice.attempt.Local()
	answer := wire.Message{Kind: wire.KindAnswer, Call: c.id, Description: &description, Direct: c.p.direct()}
	if err := c.p.send(ctx, answer); err != nil {
		ice.close()
		return fmt.Errorf("answer the peer's call: %w", err)
	}
	ice.exchange(ctx)
	result, err := ice.connect(ctx, *offer.Description)
	if err != nil {
		ice.close()
		return err
	}
	l, err := c.await(ctx, result)
	if err != nil {
		ice.close()
		return err
	}
	c.p.session.Join(ice.hold(l, result))
	return nil
}

// await waits for the link that the caller makes over what ICE found.
func (c *call) await(ctx context.Context, r path.Result) (link.Link, error) {
	if r.Relayed != nil {
		return c.p.cfg.Network.QUIC.ListenOver(ctx, r.Relayed, r.RemoteAddr, c.p.cfg.Peer, pathOf(r))
	}
	select {
	case l := <-c.accepted:
		return l, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("the peer found a path but did not use it: %w", ctx.Err())
	}
}

// direct lists this agent's own addresses to tell the peer.
func (p *Peer) direct() []string {
	all := p.cfg.Network.Direct()
	return all[:min(len(all), wire.MaxDirect)]
}
