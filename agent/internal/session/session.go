package session

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// DefaultBudget is how long a device survives without a sign of life of the peer:
// by then its user's kernel has seen an unplug.
const DefaultBudget = time.Minute

// unplugTime is what a client's kernel may take to be done with a device that is
// gone. The budget includes it, unless it is that short.
const unplugTime = 3 * time.Second

// goodbyeTime is how long a session that ends waits for the other end to hear
// of it.
const goodbyeTime = time.Second

// Host is the side of a session that shares devices.
type Host interface {
	// Devices lists what the peer may see. It is called in turn with OnEvent
	// and should be quick.
	Devices() []tunnel.Device
	// Open opens a device for the peer until ctx ends, or says why not. Errors
	// that wrap usb.ErrNotFound, usb.ErrInUse, usb.ErrPermission, ErrDenied or
	// ErrChanged reach the peer as such; their text is for a person there.
	Open(ctx context.Context, a tunnel.Attach) (usb.Device, error)
}

// Config is what a session is made of.
type Config struct {
	Local, Remote ident.PeerID
	Budget        time.Duration // 0: DefaultBudget
	Host          Host          // nil: nothing is shared
	Logger        *slog.Logger  // nil: slog.Default
	// OnEvent is told what happens, in order and without a lock held. It must
	// be quick. May be nil.
	OnEvent func(Event)
}

// Session is what this agent and one peer have with each other.
//
//	              a link is ready                 the last link is lost
//	no state ───────────────────────► linked ◄──────────────────────► waiting
//	   ▲                                 │      a link is ready          │
//	   │   drop: the peer lost its state,│                               │
//	   └── says it stops, or breaks the ─┴──────── budget is over ───────┘
//	       protocol
//
// Locks are taken in this order, and none is held while a URB's Done, an
// OnEvent or a link's Send runs: rxLane.order, hosted.order, far.mu or
// hosted.mu, Session.mu.
type Session struct {
	cfg  Config
	log  *slog.Logger
	wake chan struct{}  // to Run: there are events, links, a list to send, a budget to watch
	over chan struct{}  // closed when Run begins to end
	work sync.WaitGroup // all goroutines but Run's
	urbs atomic.Uint64  // the last URB number given out

	mu sync.Mutex
	// Guarded by mu.
	phase    phase
	after    []func() // what to do once mu is free; see unlock
	events   []Event
	joined   []link.Link // handed to Join, not yet started
	links    linkSet
	state    state
	holders  map[*hosted]struct{} // all that have a device or are about to, of dropped states too
	counters Counters
}

// state is what is dropped as a whole when either end loses its part of it.
type state struct {
	self, peer uint64 // the incarnations; peer is 0 while it belongs to none
	groups     map[uint16]*group
	control    *group // of lane 1: groups[0]
	unreported []*rxLane
	received   int // bytes since the last acknowledgement
	far        map[uint16]*far
	lastFar    uint16
	hosted     map[uint16]*hosted
	list       *peerList
	offer      offer
	lostAt     time.Time // the peer's last sign of life; zero with a link or before the first
}

type phase uint8

const (
	phaseNew phase = iota
	phaseRunning
	phaseStopping // links live on to say goodbye
	phaseOver
)

// New makes a session; Run runs it.
func New(c Config) (*Session, error) {
	if c.Local.IsZero() || c.Remote.IsZero() || c.Local == c.Remote {
		return nil, fmt.Errorf("session between %s and %s: two different peers are needed", c.Local.Short(), c.Remote.Short())
	}
	if c.Budget < 0 {
		return nil, fmt.Errorf("session: a budget of %v: it must not be negative", c.Budget)
	}
	if c.Budget == 0 {
		c.Budget = DefaultBudget
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	s := &Session{
		cfg:     c,
		log:     c.Logger.With("peer", c.Remote.Short()),
		wake:    make(chan struct{}, 1),
		over:    make(chan struct{}),
		holders: make(map[*hosted]struct{}),
	}
	s.links.all = make(map[*linkRun]struct{})
	s.links.since = time.Now()
	s.state = s.newState()
	return s, nil
}

func (s *Session) newState() state {
	st := state{
		self:   randomNumber(),
		groups: make(map[uint16]*group),
		far:    make(map[uint16]*far),
		hosted: make(map[uint16]*hosted),
		list:   &peerList{first: make(chan struct{})},
		offer:  offer{stale: true},
	}
	c := newGroup(0)
	c.endpoints[uint8(tunnel.LaneSession)] = struct{}{}
	c.deliver = func(f tunnel.Frame) error { return s.deliverControl(c, f) }
	c.violated = func(reason string) { s.dropIf(c, reason) }
	c.released = func(int) { s.listAcknowledged(c) }
	st.control, st.groups[0] = c, c
	return st
}

// randomNumber is not 0.
func randomNumber() uint64 {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:]) // never fails: crypto/rand
		if n := binary.BigEndian.Uint64(b[:]); n != 0 {
			return n
		}
	}
}

// ErrOver is the error of everything that is asked of a session that has ended.
var ErrOver = errors.New("the session with the peer is over")

// Run runs the session until ctx ends. Then it tells the peer, completes all
// URBs, gives all devices back, and returns nil when all of that is done.
func (s *Session) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.phase != phaseNew {
		s.mu.Unlock()
		return errors.New("run session: it has been run before")
	}
	s.phase = phaseRunning
	s.mu.Unlock()

	// Links outlive ctx by the time that a goodbye takes.
	linkCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	budget := time.NewTimer(s.cfg.Budget)
	defer budget.Stop()
	for {
		s.report()
		s.startJoined(linkCtx)
		s.offerDevices()
		if left, ok := s.budgetLeft(); ok {
			if left <= 0 {
				s.drop(fmt.Sprintf("no link to the peer for as long as a budget of %v allows", s.cfg.Budget))
				continue
			}
			budget.Reset(left)
		}
		select {
		case <-ctx.Done():
			s.stop(cancel)
			return nil
		case <-s.wake:
		case <-budget.C:
		}
	}
}

// stop ends everything that Run and its goroutines do.
func (s *Session) stop(cancelLinks context.CancelFunc) {
	s.mu.Lock()
	s.phase = phaseStopping
	close(s.over)
	unstarted := s.joined
	s.joined = nil
	var leaving []*linkRun
	for l := range s.links.all {
		l.sayGoodbye(tunnel.GoodbyeStopping)
		leaving = append(leaving, l)
	}
	s.mu.Unlock()
	for _, l := range unstarted {
		l.Close(string(tunnel.GoodbyeStopping))
	}
	patience := time.NewTimer(goodbyeTime)
	defer patience.Stop()
	for _, l := range leaving {
		select {
		case <-l.ended:
		case <-patience.C:
			patience.Reset(0)
		}
	}
	s.drop("this agent is stopping")
	s.mu.Lock()
	s.phase = phaseOver
	for l := range s.links.all {
		s.endLink(l, string(tunnel.GoodbyeStopping))
	}
	s.unlock()
	cancelLinks()
	s.work.Wait()
	s.report()
}

// unlock frees mu and then does what has piled up meanwhile.
func (s *Session) unlock() {
	after := s.after
	s.after = nil
	s.mu.Unlock()
	for _, f := range after {
		f()
	}
}

// spawn runs f on a goroutine that Run joins, unless the session is over. Mu
// is held.
func (s *Session) spawn(f func()) bool {
	if s.phase == phaseOver {
		return false
	}
	s.work.Go(f)
	return true
}

// poke wakes Run.
func (s *Session) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// budgetLeft returns how long the state is kept; ok is false while there is a
// link, or nothing that a link could continue. Devices of the peer have to be
// unplugged by the end of the budget, which takes this machine's kernel a while.
func (s *Session) budgetLeft() (left time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.lostAt.IsZero() {
		return 0, false
	}
	left = s.cfg.Budget - time.Since(s.state.lostAt)
	if len(s.state.far) > 0 {
		left -= min(unplugTime, s.cfg.Budget/4)
	}
	return left, true
}

// drop gives up all that the session holds, and begins anew.
func (s *Session) drop(reason string) {
	s.mu.Lock()
	s.dropState(reason)
	s.unlock()
}

// dropIf drops the state that lane 1 belongs to, if it is still there.
func (s *Session) dropIf(control *group, reason string) {
	s.mu.Lock()
	if !control.dead {
		s.dropState(reason)
	}
	s.unlock()
}

// dropState is drop with mu held. Links that have carried the old state end;
// those that have not yet say who this end is now.
func (s *Session) dropState(reason string) {
	old := s.state
	s.state = s.newState()
	s.state.lastFar = old.lastFar
	if old.list.devices == nil {
		close(old.list.first) // who waits for it waits for the next one
	}
	for _, g := range old.groups {
		s.endGroup(g)
	}
	for _, d := range old.far {
		s.after = append(s.after, func() { d.forget(&EndedError{Reason: reason}, usb.StatusShutdown) })
	}
	for _, h := range old.hosted {
		s.after = append(s.after, func() { h.end(tunnel.CodeFailed, reason) })
	}
	if s.links.active != nil {
		s.links.active, s.links.since, s.links.reason = nil, time.Now(), reason
		s.emit(Event{Kind: Lost, Reason: reason})
	}
	for l := range s.links.all {
		l.hello = nil
		if l.isReady {
			s.endLink(l, reason)
		} else {
			l.sayHello = true
			l.poke()
		}
	}
	if len(old.far)+len(old.hosted) > 0 {
		s.counters.Resets++
		s.emit(Event{Kind: Reset, Reason: reason})
		s.log.Warn("session reset", "reason", reason, "uses", len(old.far), "shares", len(old.hosted))
	}
}
