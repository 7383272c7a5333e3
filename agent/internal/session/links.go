package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// linkSet is the links of a session. It is guarded by Session.mu.
type linkSet struct {
	all        map[*linkRun]struct{}
	active     *linkRun // the one to send on; nil: none is ready
	since      time.Time
	reason     string // why the last active one ended
	generation uint64 // the highest seen
}

// linkRun is a link of the session:
//
//	fresh ──both Hellos fit──► ready ──► ended
//	  └────────────────────────────────────▲
//
// Four kinds of goroutine serve it: one runs the link and delivers, one writes
// lane 0, one watches the clock, and one for each other lane on which there is
// something to send pumps frames.
type linkRun struct {
	s       *Session
	link    link.Link
	wake    chan struct{} // to the writer
	changed chan struct{} // to the watch
	ready   chan struct{} // closed with isReady
	ended   chan struct{} // closed with isOver
	heard   atomic.Int64  // when the last frame arrived, in nanoseconds since 1970
	began   time.Time

	// Guarded by Session.mu.
	isReady, isOver bool
	sayHello        bool
	said            uint64        // the incarnation that the last Hello gave
	hello           *tunnel.Hello // the peer's last one that was meant for this state
	order           linkOrder
	standing        map[tunnel.Lane]uint64 // where the peer stood when it wrote that Hello
	cursors         map[*txLane]*cursor
	pong            *tunnel.Ping   // to say, when not nil
	goodbye         tunnel.Goodbye // to say, when not empty
	left            bool           // goodbye was, or is about to be, said
	retired         time.Time      // since when a better one is active
}

// cursor is how far a lane has been sent on a link.
type cursor struct {
	next   uint64
	pumped bool // a pump is running
}

// linkOrder decides which of several links carries the session.
type linkOrder struct {
	rank       uint8
	generation uint64
	id         uint64
}

func (o linkOrder) compare(p linkOrder) int {
	return cmp.Or(cmp.Compare(o.rank, p.rank), cmp.Compare(o.generation, p.generation), cmp.Compare(o.id, p.id))
}

// Join gives the session a fresh link to its peer, which it owns from then on.
// It does not block.
func (s *Session) Join(l link.Link) {
	if l.Info().Peer != s.cfg.Remote {
		l.Close("this link leads to another peer")
		return
	}
	s.mu.Lock()
	if s.phase >= phaseStopping {
		s.mu.Unlock()
		l.Close(string(tunnel.GoodbyeStopping))
		return
	}
	s.joined = append(s.joined, l)
	s.mu.Unlock()
	s.poke()
}

// startJoined starts the links that Join was given.
func (s *Session) startJoined(ctx context.Context) {
	s.mu.Lock()
	defer s.unlock()
	for _, l := range s.joined {
		r := &linkRun{
			s: s, link: l,
			wake: make(chan struct{}, 1), changed: make(chan struct{}, 1),
			ready: make(chan struct{}), ended: make(chan struct{}),
			began: time.Now(), sayHello: true, cursors: make(map[*txLane]*cursor),
		}
		r.heard.Store(r.began.UnixNano())
		if l.Info().Dialed {
			s.links.generation++
			r.order = linkOrder{uint8(l.Info().Path.Rank), s.links.generation, randomNumber()}
		}
		s.links.all[r] = struct{}{}
		s.spawn(func() { r.run(ctx) })
		s.spawn(r.write)
		s.spawn(r.watch)
	}
	s.joined = nil
}

// endLink takes a link out of the session and closes it. Mu is held.
func (s *Session) endLink(l *linkRun, reason string) {
	if l.isOver {
		return
	}
	l.isOver = true
	close(l.ended)
	delete(s.links.all, l)
	s.log.Info("link ended", "path", l.link.Info().Path.Rank.String(), "remote", l.link.Info().Path.Remote, "reason", reason)
	if l == s.links.active {
		s.links.reason = reason
		s.choose()
	}
	s.after = append(s.after, func() { l.link.Close(reason) })
}

// end is endLink for those who do not hold mu.
func (l *linkRun) end(reason string) {
	l.s.mu.Lock()
	l.s.endLink(l, reason)
	l.s.unlock()
}

// choose makes the best of the ready links the active one. Mu is held.
func (s *Session) choose() {
	var best *linkRun
	for l := range s.links.all {
		if l.isReady && (best == nil || l.order.compare(best.order) > 0) {
			best = l
		}
	}
	now := time.Now()
	for l := range s.links.all {
		if l.isReady && l != best && l.retired.IsZero() {
			l.retired = now
			l.pokeWatch()
		}
	}
	if best == s.links.active {
		return
	}
	if best == nil || s.links.active == nil {
		s.links.since = now
	}
	was := s.links.active
	s.links.active = best
	if best == nil {
		s.lost(was)
		return
	}
	s.state.lostAt, best.retired = time.Time{}, time.Time{}
	s.counters.Switches++
	s.emit(Event{Kind: Linked, Path: best.link.Info().Path})
	s.log.Info("link active", "path", best.link.Info().Path.Rank.String(), "remote", best.link.Info().Path.Remote)
	for _, g := range s.state.groups {
		// What was acknowledged on another link may have been lost with it.
		for _, r := range g.rx {
			s.unreport(r)
		}
		for _, t := range g.tx {
			s.kick(t)
		}
	}
	best.poke()
	s.poke()
}

// lost is called when the last ready link has ended. The budget runs from the
// peer's last sign of life on it, not from when that was noticed. Mu is held.
func (s *Session) lost(last *linkRun) {
	s.state.lostAt = time.Unix(0, last.heard.Load())
	s.counters.Losses++
	s.emit(Event{Kind: Lost, Reason: s.links.reason})
	for _, d := range s.state.far {
		s.after = append(s.after, d.abandon)
	}
	s.poke()
}

// kick starts a pump for a lane that has something to send. Mu is held.
func (s *Session) kick(t *txLane) {
	l := s.links.active
	if l == nil || t.group.dead {
		return
	}
	c := l.cursors[t]
	if c == nil {
		c = &cursor{next: l.standing[t.lane]}
		l.cursors[t] = c
	}
	if !c.pumped && max(c.next, t.first) < t.end() {
		c.pumped = s.spawn(func() { l.pump(t, c) })
	}
}

// pump sends what a lane holds, for as long as there is something and the link
// is the active one.
func (l *linkRun) pump(t *txLane, c *cursor) {
	for {
		f, ok := l.next(t, c)
		if !ok {
			return
		}
		if err := l.link.Send(f); err != nil {
			l.end(sendError(err))
		}
	}
}

func (l *linkRun) next(t *txLane, c *cursor) (tunnel.Frame, bool) {
	s := l.s
	s.mu.Lock()
	defer s.unlock()
	c.next = max(c.next, t.first)
	if t.group.dead && !l.isOver {
		s.after = append(s.after, func() { l.link.EndLane(t.lane) })
		delete(l.cursors, t)
	}
	if t.group.dead || l.isOver || l != s.links.active || c.next >= t.end() {
		c.pumped = false
		return tunnel.Frame{}, false
	}
	sent := t.frames[c.next-t.first]
	f := tunnel.Frame{Lane: t.lane, Seq: c.next, Kind: sent.kind, Body: sent.body}
	c.next++
	s.counters.FramesSent++
	return f, true
}

func sendError(err error) string { return fmt.Sprintf("sending failed: %v", err) }

// run runs the link until it ends.
func (l *linkRun) run(ctx context.Context) {
	err := l.link.Run(ctx, l.deliver)
	var closed *link.ClosedError
	switch {
	case err == nil:
		l.end("closed")
	case errors.As(err, &closed):
		l.end(closed.Error())
	default:
		l.end(err.Error())
	}
}

// deliver takes every frame that arrives.
func (l *linkRun) deliver(f tunnel.Frame) error {
	l.heard.Store(time.Now().UnixNano())
	if err := f.Check(); err != nil {
		return err
	}
	if f.Lane == tunnel.LaneLink {
		return l.deliverLink(f)
	}
	// On a link that keeps lanes apart, a frame may overtake the Hello.
	select {
	case <-l.ready:
	case <-l.ended:
		return nil
	}
	return l.receive(f)
}

func (l *linkRun) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *linkRun) pokeWatch() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}
