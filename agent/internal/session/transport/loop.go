package transport

import (
	"context"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// goodbyeTimeout bounds the time that a link stays open for the peer to answer a Goodbye by closing it.
const goodbyeTimeout = time.Second

// forever bounds the time between two calls of expire.
const forever = 24 * time.Hour

// Run runs the transport until ctx ends. Then it says Goodbye to the peer, drops the state, closes all links, and
// returns nil. It must be called once.
func (t *Transport) Run(ctx context.Context) error {
	// Links stay open after ctx has ended, until the peer has had time for a Goodbye. Run closes each of them.
	linkCtx, stop := context.WithoutCancel(ctx), ctx.Done()
	timer := time.NewTimer(forever)
	defer timer.Stop()
	for {
		for _, e := range t.inbox.take() {
			t.handle(linkCtx, e)
		}
		now := time.Now()
		next := t.expire(now)
		if !t.stopAt.IsZero() && (len(t.links) == 0 || !now.Before(t.stopAt)) {
			t.finish()
			return nil
		}
		timer.Reset(next.Sub(now))
		select {
		case <-stop:
			stop = nil
			t.sayGoodbye()
		case <-t.inbox.wake:
		case <-timer.C:
		}
	}
}

// handle does what an event requires.
func (t *Transport) handle(linkCtx context.Context, e event) {
	switch e := e.(type) {
	case joinEvent:
		t.start(linkCtx, e.link)
	case helloEvent:
		t.receiveHello(e.link, e.hello)
		close(e.handled)
	case ackEvent:
		t.receiveEarlyAck(e.link, e.ack)
		close(e.handled)
	case helloSentEvent:
		e.link.said = e.incarnation
		t.makeReady(e.link)
	case goodbyeEvent:
		if e.reason == tunnel.GoodbyeStopping && e.link.isReady() && !e.link.isOver() {
			t.drop("the peer's agent was stopped")
		}
		t.end(e.link, "the peer said goodbye: "+string(e.reason))
	case endEvent:
		t.end(e.link, e.reason)
	case limitEvent:
		t.setLimit(e.bits)
	case sampleEvent:
		t.sample(time.Now())
	case violationEvent:
		if e.state == t.state {
			t.drop(e.reason)
		}
	}
}

// expire does what is due and returns when to call it again.
func (t *Transport) expire(now time.Time) time.Time {
	for l := range t.links {
		if at, reason := l.deadline(); !at.IsZero() && !now.Before(at) {
			t.expireLink(l, reason)
		}
	}
	if at, ok := t.budgetEnd(); ok && !now.Before(at) {
		t.drop(fmt.Sprintf("no link to the peer for as long as a budget of %v allows", t.budget))
	}
	next := now.Add(forever)
	if at, ok := t.budgetEnd(); ok {
		next = at
	}
	if !t.stopAt.IsZero() && t.stopAt.Before(next) {
		next = t.stopAt
	}
	for l := range t.links {
		if at, _ := l.deadline(); !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	return next
}

// expireLink says Goodbye on a link that was replaced, once, and ends any other link. It keeps a link that the peer has
// used lately.
func (t *Transport) expireLink(l *linkRunner, reason string) {
	if reason == replaced && !l.left && l.used.Swap(false) {
		l.retired = time.Now()
		return
	}
	if reason == replaced && !l.left {
		l.left = true
		l.post.sayGoodbye(replaced)
		return
	}
	t.end(l, reason)
}

// budgetEnd returns when the state is dropped. ok is false while a link is up, and before the first one.
func (t *Transport) budgetEnd() (at time.Time, ok bool) {
	if t.lostAt.IsZero() {
		return time.Time{}, false
	}
	return t.lostAt.Add(t.budget - t.handler.Margin()), true
}

// start begins to use a new link.
func (t *Transport) start(linkCtx context.Context, l link.Link) {
	if !t.stopAt.IsZero() {
		t.closers.Go(func() { l.Close(string(tunnel.GoodbyeStopping)) })
		return
	}
	r := newLinkRunner(t, l)
	if r.info.Dialed {
		t.generation++
		r.order = linkOrder{uint8(r.info.Path.Rank), t.generation, randomNumber()}
	}
	t.links[r] = struct{}{}
	r.post.sayHello(t.state.hello(r.order))
	t.publish()
	t.work.Go(func() { r.run(linkCtx) })
	t.work.Go(r.write)
	t.work.Go(r.writeLossy)
	t.work.Go(r.writeCopies)
}

// end removes a link and closes it. Close may take a moment, so it runs on its own goroutine.
func (t *Transport) end(l *linkRunner, reason string) {
	if l.isOver() {
		return
	}
	close(l.ended)
	delete(t.links, l)
	if s := l.state.Load(); s != nil {
		s.forget(l)
	}
	path := l.info.Path
	t.log.Info("link ended", "link", path.Rank.String(), "remote_addr", path.Remote, "reason", reason)
	if l == t.active {
		t.reason = reason
		t.choose()
	}
	t.publish()
	t.closers.Go(func() { l.link.Close(reason) })
}

// drop ends the state and begins a new one. It ends the links that carried the old state. The other links announce the
// new one.
func (t *Transport) drop(reason string) {
	t.state.close()
	if t.active != nil {
		t.active, t.since, t.reason = nil, time.Now(), reason
	}
	t.lostAt = time.Time{}
	t.publish()
	t.begin(reason)
	for l := range t.links {
		l.peerHello, l.earlyAck = nil, nil
		if l.isReady() {
			t.end(l, reason)
		} else {
			l.post.sayHello(t.state.hello(l.order))
		}
	}
}

// begin makes a new state the current one.
func (t *Transport) begin(reason string) {
	t.state = newState(t)
	t.state.control.receiver = t.handler.Begin(t.state, reason)
}

// sayGoodbye begins the end of Run.
func (t *Transport) sayGoodbye() {
	t.stopAt = time.Now().Add(goodbyeTimeout)
	for l := range t.links {
		l.left = true
		l.post.sayGoodbye(tunnel.GoodbyeStopping)
	}
}

// finish drops the state, closes all links, and waits for all goroutines.
func (t *Transport) finish() {
	t.drop("this agent is stopping")
	t.state.close()
	for l := range t.links {
		t.end(l, string(tunnel.GoodbyeStopping))
	}
	for _, e := range t.inbox.close() {
		if e, ok := e.(joinEvent); ok {
			e.link.Close(string(tunnel.GoodbyeStopping))
		}
	}
	t.closers.Wait()
	t.work.Wait()
}
