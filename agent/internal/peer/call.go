package peer

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/path"
	wire "github.com/easyfind-usb/easyfind/proto/call"
)

// call is one attempt of both peers to make a link.
type call struct {
	k       *caller
	id      string
	caller  bool // this agent began the call: it controls ICE and dials
	upgrade bool // the call is for a direct link only
	cancel  context.CancelFunc

	answers    chan wire.Message // holds one: the answer, or busy
	candidates chan wire.Message // the candidates of the peer
	accepted   chan link.Link    // holds one: the link that the caller has dialed
	direct     chan []string     // holds one: the direct addresses in the answer
	unanswered chan struct{}     // closed when nothing waits for an answer any more
	stopWait   func()            // closes unanswered, once
}

func newCall(k *caller, id string) *call {
	c := &call{
		k: k, id: id,
		answers: make(chan wire.Message, 1), candidates: make(chan wire.Message, wire.MaxRemote),
		accepted: make(chan link.Link, 1), direct: make(chan []string, 1), unanswered: make(chan struct{}),
	}
	c.stopWait = sync.OnceFunc(func() { close(c.unanswered) })
	return c
}

// receive passes a message to the call. It drops what does not fit in the queues:
// an honest peer does not send more.
func (c *call) receive(m wire.Message) {
	queue := c.answers
	if m.Kind == wire.KindCandidate {
		queue = c.candidates
	}
	select {
	case queue <- m:
	default:
	}
	if m.Kind == wire.KindAnswer {
		select {
		case c.direct <- m.Direct:
		default:
		}
	}
}

// accept takes a link that the peer has dialed, if the call waits for one. It
// reports whether it took the link.
func (c *call) accept(l link.Link) bool {
	if c.caller {
		return false
	}
	select {
	case c.accepted <- l:
		return true
	default:
		return false
	}
}

// joinAccepted passes a link that accept took, and that nothing has used since, to
// the session. It reports whether there was one.
func (c *call) joinAccepted() bool {
	select {
	case l := <-c.accepted:
		c.k.session.Join(l)
		return true
	default:
		return false
	}
}

// dial is the caller's side of a call: it tries every way to reach the peer.
func (c *call) dial(ctx context.Context) error {
	ladder, err := c.newLadder()
	if err != nil {
		return err
	}
	if !c.upgrade {
		c.k.outcome.setLadder(ladder)
	}
	return ladder.Run(ctx)
}

// answer is the called side of a call: it runs ICE and waits until the caller
// dials.
func (c *call) answer(ctx context.Context, offer wire.Message) error {
	ice, err := c.newICE(ctx, false)
	if err != nil {
		return err
	}
	description := ice.attempt.Local()
	answer := wire.Message{Kind: wire.KindAnswer, Call: c.id, Description: &description, Direct: c.k.ownAddresses()}
	if err := c.k.signal.send(ctx, answer); err != nil {
		ice.close()
		return fmt.Errorf("answer the peer's call: %w", err)
	}
	ice.exchange(ctx)
	result, err := ice.connect(ctx, *offer.Description)
	if err != nil {
		ice.close()
		return err
	}
	l, err := c.awaitLink(ctx, result)
	if err != nil {
		ice.close()
		return err
	}
	c.k.session.Join(ice.keepFor(l, result))
	return nil
}

// awaitLink waits for the link that the caller makes over the path of ICE.
func (c *call) awaitLink(ctx context.Context, r path.Result) (link.Link, error) {
	if r.Relayed != nil {
		return c.k.cfg.Network.QUIC.ListenOver(ctx, r.Relayed, r.RemoteAddr, c.k.cfg.Peer, pathOf(r))
	}
	select {
	case l := <-c.accepted:
		return l, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("the peer found a path but did not use it: %w", ctx.Err())
	}
}

// awaitDirect waits for the direct addresses in the peer's answer.
func (c *call) awaitDirect(ctx context.Context) ([]string, error) {
	select {
	case addresses := <-c.direct:
		return addresses, nil
	case <-c.unanswered:
	case <-ctx.Done():
		return nil, fmt.Errorf("the peer does not answer: %w", ctx.Err())
	}
	select {
	case addresses := <-c.direct: // it came at the same time
		return addresses, nil
	default:
		return nil, errors.New("the peer did not answer")
	}
}
