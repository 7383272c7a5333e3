package peer

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	wire "github.com/easyfind-usb/easyfind/proto/call"
)

// caller makes and answers the calls of one peer, one call at a time. The loop of
// [Peer] calls its methods.
type caller struct {
	cfg     Config
	log     *slog.Logger
	session *session.Session
	signal  signalling
	outcome outcome
	ended   chan callEnded // to the loop
	dialed  chan struct{}  // to the loop: dialDirect has ended
	running sync.WaitGroup // the goroutines of calls

	call     *call // nil: no call is in progress
	schedule schedule
	direct   []string // addresses at which the peer accepts links without ICE, from its last message with any
	dialing  bool     // a goroutine of dialDirect runs
}

// callEnded reports the end of a call to the loop.
type callEnded struct {
	call *call
	err  error
}

func newCaller(cfg Config, log *slog.Logger, s *session.Session) *caller {
	return &caller{
		cfg: cfg, log: log, session: s, ended: make(chan callEnded), dialed: make(chan struct{}),
		signal: signalling{signaller: cfg.Network.Signal, peer: cfg.Peer},
	}
}

// callIfDue begins a call if one is needed and due. It returns the time until it
// may have something to do.
func (k *caller) callIfDue(ctx context.Context, needed bool) time.Duration {
	if k.call == nil && needed {
		switch k.schedule.due(time.Now()) {
		case callAny:
			k.begin(ctx, false)
		case callUpgrade:
			if best := k.session.BestRank(); best > 0 && canUpgrade(best) && k.signal.available() {
				k.begin(ctx, true)
			}
		}
	}
	if k.call != nil || !needed {
		return time.Hour
	}
	return k.schedule.wait(time.Now())
}

// begin calls the peer.
func (k *caller) begin(ctx context.Context, upgrade bool) {
	c := newCall(k, wire.NewID())
	c.caller, c.upgrade = true, upgrade
	k.start(ctx, c, c.dial)
}

// start runs a call in a goroutine until it ends or ctx does.
func (k *caller) start(ctx context.Context, c *call, run func(context.Context) error) {
	callCtx, cancel := context.WithTimeout(ctx, callTimeout)
	c.cancel = cancel
	k.call = c
	k.outcome.begin()
	k.running.Go(func() {
		defer cancel()
		err := run(callCtx)
		select {
		case k.ended <- callEnded{c, err}:
		case <-ctx.Done():
			c.joinAccepted() // the session closes the link if it has ended
		}
	})
}

// finish handles the end of a call.
func (k *caller) finish(c *call, err error) {
	if c.joinAccepted() {
		err = nil
	}
	if k.call != c {
		return // a call of the peer has replaced it
	}
	k.call = nil
	k.outcome.end(err)
	if err == nil {
		k.schedule.callSucceeded(time.Now())
		return
	}
	k.log.Info("call failed", "err", err)
	k.schedule.callFailed(time.Now())
	if !k.schedule.linked {
		k.signal.probe()
	}
}

// followSession updates the schedule after a link came up or was lost.
func (k *caller) followSession() {
	switch linked := k.session.Linked(); {
	case linked && !k.schedule.linked:
		k.schedule.linkUp(time.Now())
	case !linked && k.schedule.linked:
		k.schedule.linkLost(time.Now(), k.goesFirst())
		k.signal.probe()
	}
}

// goesFirst reports whether this agent's call goes first when both peers call at
// the same time: the call of the lower ID does.
func (k *caller) goesFirst() bool { return k.cfg.Network.Self.Compare(k.cfg.Peer) < 0 }

// accept passes a link that the peer has dialed to the call, or else to the
// session.
func (k *caller) accept(l link.Link) {
	if k.call == nil || !k.call.accept(l) {
		k.session.Join(l)
	}
}

// receive handles a message of the peer.
func (k *caller) receive(ctx context.Context, m wire.Message) {
	if len(m.Direct) > 0 {
		k.direct = m.Direct
	}
	switch {
	case m.Kind == wire.KindDial:
		k.dialDirect(ctx)
	case m.Kind == wire.KindOffer:
		k.receiveOffer(ctx, m)
	case k.call != nil && k.call.id == m.Call:
		k.call.receive(m)
	default:
		k.log.Debug("dropped a message of a call that has ended")
	}
}

// receiveOffer answers a call of the peer, or refuses it because this agent's own
// call goes first.
func (k *caller) receiveOffer(ctx context.Context, offer wire.Message) {
	if k.call != nil {
		if k.call.caller && k.goesFirst() {
			k.refuse(ctx, offer)
			return
		}
		k.call.cancel() // finish ignores its end
		k.call = nil
	}
	c := newCall(k, offer.Call)
	c.upgrade = offer.Upgrade
	k.start(ctx, c, func(ctx context.Context) error { return c.answer(ctx, offer) })
}

func (k *caller) refuse(ctx context.Context, offer wire.Message) {
	k.running.Go(func() {
		if err := k.signal.send(ctx, wire.Message{Kind: wire.KindBusy, Call: offer.Call}); err != nil {
			k.log.Debug("cannot refuse a call of the peer", "err", err)
		}
	})
}
