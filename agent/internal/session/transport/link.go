package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

const (
	pingInterval  = 4 * time.Second
	helloTimeout  = 10 * time.Second // from the start of a link until both Hellos fit the state
	retireTimeout = 5 * time.Second  // for which a replaced link is kept
)

// replaced is the reason for which a link ends that is no longer the active one.
const replaced = "a better path has taken over"

// linkRunner runs one link:
//
//	new ──both Hellos fit──► ready ──► ended
//	 └───────────────────────────────────▲
//
// One goroutine runs the link and delivers its frames, another one writes lane 0, a third one lossy frames, a fourth
// one copies. Each other lane has a [writer].
type linkRunner struct {
	transport *Transport
	link      link.Link
	info      link.Info
	began     time.Time
	post      linkPost        // frames that the writer of lane 0 has to send
	turns     turns           // of the writers of the other lanes
	ready     chan struct{}   // closed by Run when the link is ready
	ended     chan struct{}   // closed by Run when the link has ended
	lossy     chan lossyBatch // frames that writeLossy has to send
	copies    copies
	state     atomic.Pointer[State] // that the link carries; set before ready is closed
	heard     atomic.Int64          // see noteFrame; in nanoseconds since 1970
	used      atomic.Bool           // the peer sends frames of the session or Acks on it; cleared by Run

	// Owned by Transport.Run.
	order     linkOrder
	said      uint64        // the incarnation in the last Hello that was sent
	peerHello *tunnel.Hello // the peer's last one that was for the current state
	earlyAck  tunnel.Ack    // that arrived after peerHello
	chooses   bool          // the peer has tunnel.FeatureChooses
	left      bool          // a Goodbye is on its way
	retired   time.Time     // when a better link became the active one; zero: none has
}

func newLinkRunner(t *Transport, l link.Link) *linkRunner {
	r := &linkRunner{
		transport: t, link: l, info: l.Info(), began: time.Now(),
		post:  linkPost{wake: make(chan struct{}, 1)},
		ready: make(chan struct{}), ended: make(chan struct{}), lossy: make(chan lossyBatch, maxLossyQueue),
		copies: copies{queue: make(chan delayedCopy, maxCopies)},
	}
	r.noteFrame()
	return r
}

// noteFrame records that a frame has arrived now. Reading the clock is slow compared with the other work for a small
// frame. So noteFrame is called only for frames of lane 0, and for a frame with which a lane begins to wait for an
// acknowledgement. The recorded time is at most pingInterval too early, and at most ackDelay while data flows.
func (l *linkRunner) noteFrame() { l.heard.Store(time.Now().UnixNano()) }

func (l *linkRunner) isReady() bool { return l.state.Load() != nil }

func (l *linkRunner) isOver() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// fail reports that the link has ended.
func (l *linkRunner) fail(reason string) { l.transport.inbox.post(endEvent{l, reason}) }

// deadline returns when the link has to end, and why. The time is zero if it has no deadline. A link notices by itself
// when its peer is silent: its Run returns then.
func (l *linkRunner) deadline() (at time.Time, reason string) {
	switch {
	case !l.isReady():
		return l.began.Add(helloTimeout), fmt.Sprintf("the peer did not say a fitting Hello within %v", helloTimeout)
	case l.retired.IsZero():
		return time.Time{}, ""
	case l.left:
		return l.retired.Add(retireTimeout + goodbyeTimeout), replaced
	}
	return l.retired.Add(retireTimeout), replaced
}

// run runs the link until it ends.
func (l *linkRunner) run(ctx context.Context) {
	err := l.link.Run(ctx, l.deliver)
	var closed *link.ClosedError
	switch {
	case err == nil:
		l.fail("closed")
	case errors.As(err, &closed):
		l.fail(closed.Error())
	default:
		l.fail(err.Error())
	}
}

// deliver handles every frame that arrives.
func (l *linkRunner) deliver(f tunnel.Frame) error {
	if err := f.Check(); err != nil {
		return err
	}
	if (f.Lane != tunnel.LaneLink || f.Kind == tunnel.KindAck) && !l.used.Load() {
		l.used.Store(true)
	}
	if f.Lane == tunnel.LaneLink {
		l.noteFrame()
		return l.deliverLink(f)
	}
	s := l.state.Load()
	switch {
	case f.Kind.Lossy() && s != nil:
		return s.receiveLossy(l, f)
	case f.Kind.Lossy():
		return nil // useless before the state is known
	case s != nil:
		return s.receive(l, f)
	}
	// On a link that keeps lanes apart, a frame may overtake the Hello.
	select {
	case <-l.ready:
		return l.state.Load().receive(l, f)
	case <-l.ended:
		return nil
	}
}

// deliverLink handles a frame of lane 0.
func (l *linkRunner) deliverLink(f tunnel.Frame) error {
	switch f.Kind {
	case tunnel.KindHello:
		h, err := tunnel.DecodeHello(f.Body)
		if err != nil {
			return err
		}
		return l.deliverHello(h)
	case tunnel.KindPing:
		p, err := tunnel.DecodePing(f.Body)
		if err != nil {
			return err
		}
		l.post.sayPong(p)
	case tunnel.KindPong:
		_, err := tunnel.DecodePing(f.Body)
		return err
	case tunnel.KindAck:
		ack, err := tunnel.DecodeAck(f.Body)
		if err != nil {
			return err
		}
		l.deliverAck(ack)
	case tunnel.KindGoodbye:
		g, err := tunnel.DecodeGoodbye(f.Body)
		if err != nil {
			return err
		}
		l.transport.inbox.post(goodbyeEvent{l, g})
		<-l.ended
	}
	return nil
}

// deliverHello waits until Run has handled the Hello, so that what follows on the lane finds the state that it needs.
func (l *linkRunner) deliverHello(h tunnel.Hello) error {
	if h.Version != tunnel.Version {
		return fmt.Errorf("the peer speaks version %d of the protocol, this agent version %d: update the older one",
			h.Version, tunnel.Version)
	}
	handled := make(chan struct{})
	l.transport.inbox.post(helloEvent{l, h, handled})
	l.await(handled)
	return nil
}

func (l *linkRunner) deliverAck(ack tunnel.Ack) {
	if s := l.state.Load(); s != nil {
		if err := s.acknowledge(ack); err != nil {
			s.violate(err.Error())
		}
		l.transport.sampleIfDue(l.heard.Load())
		return
	}
	handled := make(chan struct{})
	l.transport.inbox.post(ackEvent{l, ack, handled})
	l.await(handled)
}

// await waits until Run has handled an event.
func (l *linkRunner) await(handled <-chan struct{}) {
	select {
	case <-handled:
	case <-l.ended:
	}
}

// write writes lane 0: Hello first, then Pings, Pongs and Acks, and at the end Goodbye.
func (l *linkRunner) write() {
	ping := time.NewTicker(pingInterval)
	defer ping.Stop()
	acks := time.NewTimer(ackDelay)
	defer acks.Stop()
	armed, due := true, false // the timer is running; it has just fired
	var pings tunnel.Ping
	for {
		frames, hello := l.post.take()
		ack, later := l.takeAck(due)
		due = false
		if len(ack) > 0 {
			frames = append(frames, tunnel.Frame{Kind: tunnel.KindAck, Body: ack.Encode()})
		}
		if later && !armed {
			armed = true
			acks.Reset(ackDelay)
		}
		if !l.sendAll(frames) {
			return
		}
		if hello != 0 {
			l.transport.inbox.post(helloSentEvent{l, hello})
		}
		select {
		case <-l.ended:
			return
		case <-l.post.wake:
		case <-ping.C:
			stats := l.link.Stats()
			l.turns.setRate(stats.Rate)
			l.decideCopies(stats.Loss)
			pings++
			if !l.sendAll([]tunnel.Frame{{Kind: tunnel.KindPing, Body: pings.Encode()}}) {
				return
			}
		case <-acks.C:
			armed, due = false, true
		}
	}
}

func (l *linkRunner) takeAck(due bool) (ack tunnel.Ack, later bool) {
	s := l.state.Load()
	if s == nil {
		return nil, false
	}
	return s.acks.take(l, due)
}

// sendAll sends frames of lane 0. It returns false if the link has ended.
func (l *linkRunner) sendAll(frames []tunnel.Frame) bool {
	for _, f := range frames {
		if err := l.link.Send(f); err != nil {
			l.fail(sendError(err))
			return false
		}
	}
	return true
}

// linkPost holds the messages that the writer of lane 0 has yet to send. It keeps the last one of each kind.
type linkPost struct {
	wake chan struct{} // receives when there is something to send

	mu sync.Mutex
	// Guarded by mu. Nil or empty: nothing to say.
	hello   *tunnel.Hello
	pong    *tunnel.Ping
	goodbye tunnel.Goodbye
}

func (p *linkPost) signal() { signal(p.wake) }

func (p *linkPost) sayHello(h *tunnel.Hello) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hello = h
	p.signal()
}

func (p *linkPost) sayPong(n tunnel.Ping) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pong = &n
	p.signal()
}

func (p *linkPost) sayGoodbye(g tunnel.Goodbye) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.goodbye = g
	p.signal()
}

// take returns the messages as frames, and the incarnation of the Hello if there is one.
func (p *linkPost) take() (frames []tunnel.Frame, hello uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hello != nil {
		hello = p.hello.Incarnation
		frames = append(frames, tunnel.Frame{Kind: tunnel.KindHello, Body: p.hello.Encode()})
	}
	if p.pong != nil {
		frames = append(frames, tunnel.Frame{Kind: tunnel.KindPong, Body: p.pong.Encode()})
	}
	if p.goodbye != "" {
		frames = append(frames, tunnel.Frame{Kind: tunnel.KindGoodbye, Body: p.goodbye.Encode()})
	}
	p.hello, p.pong, p.goodbye = nil, nil, ""
	return frames, hello
}
