// Package peer is the life of one paired peer: its session, and the calls that
// give the session links. It is the one place that knows the session, the
// ladder, ICE and the rendezvous, and translates between them.
package peer

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/path"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	wire "github.com/easyfind-usb/easyfind/proto/call"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// How calls are repeated while a link is wanted.
const (
	callTime     = 15 * time.Second // one call, from offer to the last chance of a better link
	retryFirst   = 500 * time.Millisecond
	retryMost    = 4 * time.Second
	yieldTime    = 1500 * time.Millisecond // how long the higher ID lets the lower one call first
	upgradeFirst = 30 * time.Second        // after a relayed link, until a direct one is tried for
	upgradeMost  = 10 * time.Minute
)

// Signaller carries messages to peers through the rendezvous.
type Signaller interface {
	Send(ctx context.Context, to ident.PeerID, body []byte) error
	// Probe says that the network may have changed: it does not block.
	Probe()
}

// QUIC makes links on the agent's UDP socket, and over relayed packet
// connections beside it; see quiclink.Endpoint.
type QUIC interface {
	Dial(ctx context.Context, addr *net.UDPAddr, peer ident.PeerID, p link.Path) (link.Link, error)
	DialOver(ctx context.Context, conn net.PacketConn, remote net.Addr, peer ident.PeerID, p link.Path) (link.Link, error)
	ListenOver(ctx context.Context, conn net.PacketConn, remote net.Addr, peer ident.PeerID, p link.Path) (link.Link, error)
}

// Network is what all peers of an agent share.
type Network struct {
	Self  ident.PeerID
	Paths *path.Paths
	QUIC  QUIC
	// DialDirect makes a link to "tls://host:port" or "tcp://host:port".
	DialDirect func(ctx context.Context, address string, peer ident.PeerID) (link.Link, error)
	// Signal is nil where no rendezvous is configured.
	Signal Signaller
	// Servers returns the STUN and TURN servers to use now.
	Servers func(ctx context.Context) ([]path.Server, error)
	// Direct lists the addresses at which this agent takes links without ICE.
	Direct func() []string
}

// Config is what a peer is made of.
type Config struct {
	Peer    ident.PeerID
	Network *Network
	Budget  time.Duration // 0: session.DefaultBudget
	Host    session.Host
	// Addresses lists where the peer may be dialed without a rendezvous.
	Addresses func() []string
	Logger    *slog.Logger
	// Changed is called when Status may have changed. It must not block.
	Changed func()
	// News is called when what the peer shares has changed. It must not block.
	News func()
}

// Peer keeps one peer's session supplied with links:
//
//	        wanted, or lost with attachments        a link joins
//	idle ───────────────────────────────► calling ───────────────► linked
//	 ▲                                     ▲   │ nothing worked       │ │
//	 │ no longer wanted                    │   ▼                      │ │ relayed: now and
//	 └────────────────────────────────── waiting ◄──── the link is lost┘ └ then, try for direct
//
// A call that the peer makes is answered in every state.
type Peer struct {
	cfg     Config
	log     *slog.Logger
	session *session.Session
	events  chan func()   // run by the loop, in order
	poked   chan struct{} // what the loop looks at has changed
	over    chan struct{}

	// Owned by the loop.
	call      *call
	retry     time.Duration
	retryAt   time.Time
	upgrade   time.Duration
	upgradeAt time.Time
	linked    bool
	calls     sync.WaitGroup
	ctx       context.Context

	mu      sync.Mutex // guards what follows
	wants   int
	calling bool         // a call is under way
	why     string       // no better path, as the last one found says
	ladder  *link.Ladder // of the last call that this end made
	problem string       // why the last call failed; empty if it did not
}

// New makes a peer.
func New(cfg Config) (*Peer, error) {
	if cfg.Network == nil || cfg.Logger == nil || cfg.Addresses == nil || cfg.Changed == nil || cfg.News == nil {
		return nil, errors.New("peer: network, logger, addresses, changed and news are needed")
	}
	p := &Peer{
		cfg: cfg, log: cfg.Logger.With("peer", cfg.Peer.Short()),
		events: make(chan func(), 64), poked: make(chan struct{}, 1), over: make(chan struct{}),
	}
	var err error
	p.session, err = session.New(session.Config{
		Local: cfg.Network.Self, Remote: cfg.Peer, Budget: cfg.Budget, Host: cfg.Host, Logger: cfg.Logger, OnEvent: p.onSession,
	})
	return p, err
}

// Session is the session with the peer.
func (p *Peer) Session() *session.Session { return p.session }

// Run runs the session and its calls until ctx ends.
func (p *Peer) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	p.ctx = ctx
	var joined sync.WaitGroup
	var failed error
	joined.Go(func() {
		failed = p.session.Run(ctx)
		cancel()
	})
	p.loop(ctx)
	cancel()
	close(p.over)
	p.calls.Wait()
	joined.Wait()
	return failed
}

// loop is the state machine.
func (p *Peer) loop(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		p.step()
		timer.Reset(p.sleep())
		select {
		case <-ctx.Done():
			return
		case event := <-p.events:
			event()
		case <-p.poked:
			p.look()
		case <-timer.C:
		}
	}
}

// do hands an event to the loop.
func (p *Peer) do(event func()) {
	select {
	case p.events <- event:
	case <-p.over:
	}
}

// Want says that the session is needed until release is called.
func (p *Peer) Want() (release func()) {
	p.want(1)
	return sync.OnceFunc(func() { p.want(-1) })
}

func (p *Peer) want(n int) {
	p.mu.Lock()
	p.wants += n
	p.mu.Unlock()
	p.poke()
}

func (p *Peer) poke() {
	select {
	case p.poked <- struct{}{}:
	default:
	}
}

// Message is a message from the peer, by way of the rendezvous.
func (p *Peer) Message(body []byte) {
	m, err := wire.Decode(body)
	if err != nil {
		p.log.Warn("message from the peer dropped", "err", err)
		return
	}
	p.do(func() { p.heard(m) })
}

// Accept takes a link that the peer has dialed.
func (p *Peer) Accept(l link.Link) {
	p.do(func() {
		if p.call != nil && p.call.take(l) {
			return
		}
		p.session.Join(l)
	})
}

// Retry says that something has changed that may make a call succeed: the
// rendezvous is reached again, the network is another one.
func (p *Peer) Retry() {
	p.do(func() { p.retry, p.retryAt = 0, time.Now() })
}

// onSession is told what happens to the session. It must not block.
func (p *Peer) onSession(e session.Event) {
	if e.Kind == session.Devices {
		p.cfg.News()
	}
	p.poke()
	p.cfg.Changed()
}

// look compares the session with what the loop knows of it.
func (p *Peer) look() {
	switch linked := p.session.Status().Linked; {
	case linked && !p.linked:
		p.linked, p.retry = true, 0
		p.upgrade = upgradeFirst
		p.upgradeAt = time.Now().Add(p.upgrade)
	case !linked && p.linked:
		p.linked, p.retryAt = false, time.Now()
		if p.cfg.Network.Self.Compare(p.cfg.Peer) > 0 {
			p.retryAt = p.retryAt.Add(yieldTime)
		}
		p.probe()
	}
}

// probe has the signalling connection tested: what lost the link may have lost
// this too.
func (p *Peer) probe() {
	if p.cfg.Network.Signal != nil {
		p.cfg.Network.Signal.Probe()
	}
}

// needed reports whether a link is worth a call.
func (p *Peer) needed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wants > 0 || len(p.session.Status().Attachments) > 0
}

// step begins a call if it is time for one.
func (p *Peer) step() {
	now := time.Now()
	switch {
	case p.call != nil || !p.needed():
	case !p.linked && !now.Before(p.retryAt):
		p.begin(wire.NewID(), false)
	case p.linked && !now.Before(p.upgradeAt):
		p.upgrade = min(2*p.upgrade, upgradeMost)
		p.upgradeAt = now.Add(p.upgrade)
		if rank, _ := active(p.session.Status()); rank < link.RankPunched && p.cfg.Network.Signal != nil {
			p.begin(wire.NewID(), true)
		}
	}
}

// sleep is the time until step may have something to do.
func (p *Peer) sleep() time.Duration {
	switch {
	case p.call != nil || !p.needed():
		return time.Hour
	case !p.linked:
		return max(0, time.Until(p.retryAt))
	}
	return max(0, time.Until(p.upgradeAt))
}

// heard deals with a message of the peer.
func (p *Peer) heard(m wire.Message) {
	switch {
	case m.Kind == wire.KindOffer:
		p.offered(m)
	case p.call != nil && p.call.id == m.Call:
		p.call.hear(m)
	default:
		p.log.Debug("message about a call that is over", "kind", m.Kind)
	}
}

// offered answers a call, unless this end's own goes before it.
func (p *Peer) offered(m wire.Message) {
	if p.call != nil {
		if p.call.calling && p.cfg.Network.Self.Compare(p.cfg.Peer) < 0 {
			p.tell(wire.Message{Kind: wire.KindBusy, Call: m.Call})
			return
		}
		p.call.cancel() // its end does not matter to the loop any more
		p.call = nil
	}
	p.answer(m)
}

// tell sends a message without waiting for it.
func (p *Peer) tell(m wire.Message) {
	p.calls.Go(func() {
		if err := p.send(p.ctx, m); err != nil {
			p.log.Debug("message to the peer", "kind", m.Kind, "err", err)
		}
	})
}

func (p *Peer) send(ctx context.Context, m wire.Message) error {
	body, err := m.Encode()
	if err != nil {
		return err
	}
	return p.cfg.Network.Signal.Send(ctx, p.cfg.Peer, body)
}
