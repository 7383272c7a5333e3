package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/session/transport"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// DefaultBudget is the time that a device survives without a frame from the peer. By its end, the kernel of the
// device's user has seen an unplug.
const DefaultBudget = time.Minute

// unplugTimeout is the time that a client's kernel may need to remove a device that is gone. The budget includes it,
// unless the budget is that short.
const unplugTimeout = 3 * time.Second

// Host is the side of a session that shares devices.
type Host interface {
	// Devices lists the devices that the peer may see. The session calls it on the same goroutine as OnEvent. It
	// should be quick.
	Devices() []tunnel.Device
	// Open opens a device for the peer until ctx ends. The peer learns an error that wraps usb.ErrNotFound,
	// usb.ErrInUse, usb.ErrPermission, ErrDenied or ErrChanged as that error; its text is for a person there.
	Open(ctx context.Context, a tunnel.Attach) (usb.Device, error)
}

// Config is the configuration of a Session.
type Config struct {
	Local, Remote ident.PeerID
	Budget        time.Duration // 0: DefaultBudget
	Host          Host          // nil: nothing is shared
	Logger        *slog.Logger  // nil: slog.Default
	// OnEvent receives the events of the session, in order and without a lock held. It must be quick. It may be nil.
	OnEvent func(Event)
}

// Session is the session of this agent with one peer.
type Session struct {
	cfg       Config
	log       *slog.Logger
	transport *transport.Transport
	events    eventQueue     // for Run
	over      chan struct{}  // closed when Run begins to end
	work      sync.WaitGroup // the goroutines of exported attachments
	urbs      atomic.Uint64  // the number of the last URB

	mu sync.Mutex
	// Guarded by mu.
	wasRun     bool
	isOver     bool // over is closed
	current    *attachments
	lastNumber uint16                           // of the last attachment of a remote device
	holders    map[*exportedAttachment]struct{} // that have or open a device, also of states that were dropped
	resets     uint64
}

// New returns a session. Run runs it.
func New(c Config) (*Session, error) {
	if c.Local.IsZero() || c.Remote.IsZero() || c.Local == c.Remote {
		return nil, fmt.Errorf("session between %s and %s: two different peers are needed",
			c.Local.Short(), c.Remote.Short())
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
		events:  newEventQueue(),
		over:    make(chan struct{}),
		holders: make(map[*exportedAttachment]struct{}),
	}
	s.transport = transport.New(transport.Config{Handler: &transportHandler{s: s}, Budget: c.Budget, Logger: s.log})
	return s, nil
}

// ErrOver is the error of calls to a session that has ended.
var ErrOver = errors.New("the session with the peer is over")

// Run runs the session until ctx ends. Then it says Goodbye to the peer, completes all URBs, gives all devices back,
// and returns nil.
func (s *Session) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.wasRun {
		s.mu.Unlock()
		return errors.New("run session: it has been run before")
	}
	s.wasRun = true
	s.mu.Unlock()

	ended := make(chan error, 1)
	go func() { ended <- s.transport.Run(ctx) }()
	stop := ctx.Done()
	for {
		s.report()
		s.sendList()
		select {
		case <-stop:
			stop = nil
			s.stop()
		case <-s.events.wake:
		case err := <-ended:
			s.stop()
			s.work.Wait()
			s.report()
			return err
		}
	}
}

// stop makes calls that wait for the peer return.
func (s *Session) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isOver {
		s.isOver = true
		close(s.over)
	}
}

// SetLimit caps the rate at which either peer sends to the other, in bits per second; 0 is no limit.
func (s *Session) SetLimit(bits uint64) { s.transport.SetLimit(bits) }

// Join hands the session a new link to its peer, which the session owns from then on. It does not block.
func (s *Session) Join(l link.Link) {
	if l.Info().Peer != s.cfg.Remote {
		l.Close("this link leads to another peer")
		return
	}
	s.transport.Join(l)
}

// transportHandler handles the events of the session's transport, which calls its methods one at a time.
type transportHandler struct {
	s      *Session
	linked bool // LinkUp was called, and neither LinkDown nor Begin after it
}

// Begin drops all attachments and begins again without any.
func (h *transportHandler) Begin(state *transport.State, reason string) transport.Receiver {
	s := h.s
	if h.linked {
		h.linked = false
		s.events.add(Event{Kind: Lost, Reason: reason})
	}
	next := newAttachments(s, state)
	s.mu.Lock()
	last := s.current
	s.current = next
	s.mu.Unlock()
	if last != nil {
		last.drop(reason)
	}
	return next
}

// LinkUp reports the link. The event also wakes Run, which sends the list of devices then.
func (h *transportHandler) LinkUp(path link.Path) {
	h.linked = true
	h.s.events.add(Event{Kind: Linked, Path: path})
}

// LinkDown completes the cancelled URBs whose results are not expected soon.
func (h *transportHandler) LinkDown(reason string) {
	h.linked = false
	h.s.events.add(Event{Kind: Lost, Reason: reason})
	h.s.mu.Lock()
	devices := h.s.current.remoteDevices()
	h.s.mu.Unlock()
	for _, d := range devices {
		d.abandonCancelled()
	}
}

// SeekLink reports it.
func (h *transportHandler) SeekLink() { h.s.events.add(Event{Kind: Seek}) }

// Margin returns the time that this machine's kernel needs to remove the remote devices.
func (h *transportHandler) Margin() time.Duration {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if len(h.s.current.remote) == 0 {
		return 0
	}
	return min(unplugTimeout, h.s.cfg.Budget/4)
}
