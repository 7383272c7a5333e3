// Package peer keeps the session with one paired peer supplied with links. It is
// the only package that knows the session, the ladder of links, ICE and the
// signalling of the rendezvous.
//
// To get a link, one agent calls the other: through the rendezvous it sends an
// offer, and the called agent answers. Then both try to reach each other, and the
// caller dials every path that may work. See [Peer] for when an agent calls.
package peer

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/path"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	wire "github.com/easyfind-usb/easyfind/proto/call"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// QUIC makes links on the agent's UDP socket, and over packet connections that a
// relay provides; see quiclink.Endpoint.
type QUIC interface {
	Dial(ctx context.Context, addr *net.UDPAddr, peer ident.PeerID, p link.Path) (link.Link, error)
	DialOver(
		ctx context.Context, conn net.PacketConn, remote net.Addr, peer ident.PeerID, p link.Path,
	) (link.Link, error)
	ListenOver(
		ctx context.Context, conn net.PacketConn, remote net.Addr, peer ident.PeerID, p link.Path,
	) (link.Link, error)
}

// Network holds what all peers of an agent share.
type Network struct {
	Self  ident.PeerID
	Paths *path.Paths
	QUIC  QUIC
	// DialDirect makes a link to "tls://host:port" or "tcp://host:port".
	DialDirect func(ctx context.Context, address string, peer ident.PeerID) (link.Link, error)
	// Signal is nil if the agent has no rendezvous.
	Signal Signaller
	// Servers returns the STUN and TURN servers to use now.
	Servers func(ctx context.Context) ([]path.Server, error)
	// Direct returns the addresses at which this agent accepts links without ICE.
	Direct func() []string
}

// Config holds the settings of a [Peer]. Every field but Budget and Host is
// required.
type Config struct {
	Peer    ident.PeerID
	Network *Network
	Budget  time.Duration // see session.Config; 0: session.DefaultBudget
	Host    session.Host  // nil: nothing is shared
	// Addresses returns the direct addresses of the peer.
	Addresses func() []string
	Logger    *slog.Logger
	// LinkChanged receives the active link whenever it may have changed, and false
	// if no link is up. It must not block.
	LinkChanged func(active session.LinkStatus, up bool)
	// DevicesChanged is called when the peer has sent its list of devices. It must
	// not block.
	DevicesChanged func()
}

// Peer is one paired peer. Run owns this state machine:
//
//	     wanted, or link lost with devices attached        a link joins
//	idle ─────────────────────────────────────► calling ───────────────► linked
//	 ▲                                           ▲   │ call failed         │ │
//	 │ no longer wanted                          │   ▼                     │ │ relayed: sometimes
//	 └──────────────────────────────────────── waiting ◄──── link lost ────┘ └ call for a direct link
//
// In every state, a call from the peer is answered.
type Peer struct {
	cfg     Config
	log     *slog.Logger
	session *session.Session
	calls   *caller       // owned by the loop
	events  chan any      // messageArrived, linkAccepted or retryRequested, in order
	woken   chan struct{} // holds one: the session or wants has changed
	seeking atomic.Bool   // the session seeks a link over TCP
	over    chan struct{} // closed when the loop has ended

	mu             sync.Mutex // guards the fields below
	wants          int
	devicesChanged chan struct{} // closed and replaced when the peer sends its list
}

// The events of the loop.
type (
	messageArrived struct{ message wire.Message }
	linkAccepted   struct{ link link.Link }
	retryRequested struct{}
)

// New creates a peer. Run starts it.
func New(cfg Config) (*Peer, error) {
	if cfg.Network == nil || cfg.Logger == nil || cfg.Addresses == nil ||
		cfg.LinkChanged == nil || cfg.DevicesChanged == nil {
		return nil, errors.New("peer: a required field of the configuration is missing")
	}
	log := cfg.Logger.With("peer", cfg.Peer.Short())
	p := &Peer{
		cfg: cfg, log: log,
		events: make(chan any), woken: make(chan struct{}, 1), over: make(chan struct{}),
		devicesChanged: make(chan struct{}),
	}
	var err error
	p.session, err = session.New(session.Config{
		Local: cfg.Network.Self, Remote: cfg.Peer, Budget: cfg.Budget, Host: cfg.Host, Logger: cfg.Logger,
		OnEvent: p.onSessionEvent,
	})
	if err != nil {
		return nil, err
	}
	p.calls = newCaller(cfg, log, p.session)
	return p, nil
}

// Session returns the session with the peer.
func (p *Peer) Session() *session.Session { return p.session }

// Run runs the session and its calls until ctx ends or the session fails.
func (p *Peer) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var sessionEnded sync.WaitGroup
	var failure error
	sessionEnded.Go(func() {
		failure = p.session.Run(ctx)
		cancel()
	})
	p.loop(ctx)
	cancel()
	close(p.over)
	p.calls.running.Wait()
	sessionEnded.Wait()
	return failure
}

// loop runs the state machine.
func (p *Peer) loop(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(p.calls.callIfDue(ctx, p.needed()))
		select {
		case <-ctx.Done():
			return
		case e := <-p.events:
			p.handle(ctx, e)
		case <-p.calls.dialed:
			p.calls.dialing = false
		case e := <-p.calls.ended:
			p.calls.finish(e.call, e.err)
			p.reportLink() // the round trip has been measured by now
		case <-p.woken:
			p.calls.followSession()
			p.reportLink()
			if p.seeking.Swap(false) {
				p.calls.seekDirect(ctx)
			}
		case <-timer.C:
		}
	}
}

func (p *Peer) handle(ctx context.Context, event any) {
	switch e := event.(type) {
	case messageArrived:
		p.calls.receive(ctx, e.message)
	case linkAccepted:
		p.calls.accept(e.link)
	case retryRequested:
		p.calls.schedule.retryNow(time.Now())
	}
}

// post passes an event to the loop. It returns false if the loop has ended.
func (p *Peer) post(event any) bool {
	select {
	case p.events <- event:
		return true
	case <-p.over:
		return false
	}
}

// wake makes the loop check the session and wants.
func (p *Peer) wake() {
	select {
	case p.woken <- struct{}{}:
	default: // it is about to
	}
}

// Want keeps a link to the peer, or tries to get one, until release is called.
func (p *Peer) Want() (release func()) {
	add := func(n int) {
		p.mu.Lock()
		p.wants += n
		p.mu.Unlock()
		p.wake()
	}
	add(1)
	return sync.OnceFunc(func() { add(-1) })
}

// DevicesChanged returns a channel that is closed when the peer next sends its
// list of devices.
func (p *Peer) DevicesChanged() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.devicesChanged
}

// Deliver handles a message that the peer sent through the rendezvous.
func (p *Peer) Deliver(body []byte) {
	m, err := wire.Decode(body)
	if err != nil {
		p.log.Warn("dropped a malformed message of the peer", "err", err)
		return
	}
	p.post(messageArrived{m})
}

// Accept takes over a link that the peer has dialed.
func (p *Peer) Accept(l link.Link) {
	if !p.post(linkAccepted{l}) {
		l.Close("the agent no longer talks to this peer")
	}
}

// Retry makes the next call due now. It is for a change that may let a call
// succeed, such as a new connection to the rendezvous.
func (p *Peer) Retry() { p.post(retryRequested{}) }

// onSessionEvent must not block.
func (p *Peer) onSessionEvent(e session.Event) {
	if e.Kind == session.Devices {
		p.mu.Lock()
		close(p.devicesChanged)
		p.devicesChanged = make(chan struct{})
		p.mu.Unlock()
		p.cfg.DevicesChanged()
	}
	if e.Kind == session.Seek {
		p.seeking.Store(true)
	}
	p.wake()
}

// reportLink is called by the loop only, so that reports are in order.
func (p *Peer) reportLink() {
	l, up := p.session.ActiveLink()
	p.cfg.LinkChanged(l, up)
}

// needed reports whether anything needs a link.
func (p *Peer) needed() bool {
	return p.wanted() || p.session.Attached()
}

func (p *Peer) wanted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wants > 0
}
