package transport

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/internal/bufferpool"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// Handler is the user of a transport. The transport calls its methods one at a time. They must not block.
type Handler interface {
	// Begin receives each new state: the first one from New, every other one when the state before was dropped for the
	// given reason. It returns the receiver for lane 1. No link is up at that moment.
	Begin(s *State, reason string) Receiver
	// LinkUp reports that a link has become the active one. It may have replaced another one.
	LinkUp(path link.Path)
	// LinkDown reports that the last link was lost.
	LinkDown(reason string)
	// SeekLink reports that a link over TCP may carry more than the active one over UDP.
	SeekLink()
	// Margin returns how long before the end of the budget the state has to be dropped.
	Margin() time.Duration
}

// Receiver handles what the peer sends on the lanes of one group. The transport may call its methods concurrently for
// different lanes and for lossy frames. They must not block.
type Receiver interface {
	// Deliver handles the next frame of a lane, or a lossy frame. An error means that the peer broke the protocol: the
	// transport calls Violated then, or drops the state if the frame is of lane 1.
	Deliver(f tunnel.Frame) error
	// Acknowledged reports that the peer has received all frames of a lane before number next. Cost is the sum of the
	// costs of those that it had not acknowledged before.
	Acknowledged(lane tunnel.Lane, next uint64, cost int)
	// Violated reports that the peer broke the protocol on a lane of the group.
	Violated(reason string)
}

// Config is the configuration of a Transport.
type Config struct {
	Handler Handler
	Budget  time.Duration // the time that a state is kept without a frame from the peer
	Logger  *slog.Logger
}

// Transport carries the frames of one session.
//
//	              a link is ready                 the last link is lost
//	no state ───────────────────────► linked ◄──────────────────────► waiting
//	   ▲                                 │      a link is ready          │
//	   │                                 │                               │
//	   └── drop: the peer lost its state,┴──────── budget is over ───────┘
//	       stops, or breaks the protocol
type Transport struct {
	handler  Handler
	budget   time.Duration
	log      *slog.Logger
	bodies   bufferpool.Pool // of frames that this peer receives; never shared with another peer
	inbox    mailbox         // of Run
	work     sync.WaitGroup
	counters counters
	limit    peerLimit
	status   atomic.Pointer[Status] // replaced by Run, never changed
	sampleAt atomic.Int64           // when the next sampleEvent is due; in nanoseconds since 1970

	// Owned by Run.
	state      *State
	links      map[*linkRunner]struct{}
	active     *linkRunner // the link to send on; nil: none is ready
	choice     choice
	since      time.Time // when active became nil, or ceased to be nil
	reason     string    // why the last active link ended
	generation uint64    // the highest one seen
	lostAt     time.Time // of the last frame from the peer; zero while a link is up, and before the first one
	stopAt     time.Time // when Run stops waiting for the peer to close its links; zero before Run stops
	closers    sync.WaitGroup
}

type counters struct {
	sent, received, expired, duplicates, switches, losses, acked atomic.Uint64
}

// Counters are numbers of events since the transport was made.
type Counters struct {
	FramesSent     uint64 // frames that were sent again count again
	FramesReceived uint64
	Expired        uint64 // lossy frames that were dropped because the link could not send them in time
	Duplicates     uint64 // frames that arrived again and were dropped
	Switches       uint64 // times that a link became the active one
	Losses         uint64 // times that the last link was lost
}

// Status describes the links of a transport.
type Status struct {
	Linked bool
	Since  time.Time    // of the last change of Linked
	Reason string       // why the last active link ended
	Links  []LinkStatus // the one of the highest rank first
	Choice string       // why the active link is not that one; else empty
	Limit  uint64       // at which each peer may send to the other, in bits per second; 0: none
}

// LinkStatus describes one link of a transport.
type LinkStatus struct {
	Link   link.Link
	Ready  bool // both Hellos have been exchanged
	Active bool // the transport sends on it
	Since  time.Time
}

// New returns a transport. Run runs it.
func New(c Config) *Transport {
	t := &Transport{
		handler: c.Handler, budget: c.Budget, log: c.Logger,
		inbox: newMailbox(), links: make(map[*linkRunner]struct{}), since: time.Now(),
	}
	t.begin("")
	t.publish()
	return t
}

// NewBody returns n bytes for the body of a frame that the caller will push. They may hold parts of earlier frames of
// this transport. A pushed body belongs to the transport.
func (t *Transport) NewBody(n int) []byte { return t.bodies.Get(n) }

// Join hands a link to the transport, which owns it from then on. It does not block.
func (t *Transport) Join(l link.Link) {
	if !t.inbox.post(joinEvent{l}) {
		l.Close(string(tunnel.GoodbyeStopping))
	}
}

// Status returns the current state of the links. The caller must not change it.
func (t *Transport) Status() *Status { return t.status.Load() }

// Counters returns the current counters.
func (t *Transport) Counters() Counters {
	c := &t.counters
	return Counters{
		FramesSent: c.sent.Load(), FramesReceived: c.received.Load(), Expired: c.expired.Load(),
		Duplicates: c.duplicates.Load(), Switches: c.switches.Load(), Losses: c.losses.Load(),
	}
}

// publish replaces what Status returns.
func (t *Transport) publish() {
	sorted := make([]*linkRunner, 0, len(t.links))
	for l := range t.links {
		sorted = append(sorted, l)
	}
	slices.SortFunc(sorted, func(a, b *linkRunner) int { return b.order.compare(a.order) })
	s := &Status{
		Linked: t.active != nil, Since: t.since, Reason: t.reason,
		Choice: t.choice.reason(), Limit: t.limit.bits.Load(),
	}
	for _, l := range sorted {
		s.Links = append(s.Links, LinkStatus{Link: l.link, Ready: l.isReady(), Active: l == t.active, Since: l.began})
	}
	t.status.Store(s)
}

// randomNumber returns a random number other than 0.
func randomNumber() uint64 {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:]) // never fails: crypto/rand
		if n := binary.BigEndian.Uint64(b[:]); n != 0 {
			return n
		}
	}
}

// sendError returns why a link ends whose Send has failed.
func sendError(err error) string { return fmt.Sprintf("sending failed: %v", err) }
