package rvclient

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// Config holds the parameters of New.
type Config struct {
	URL    string       // the join link, see api.JoinLink
	Key    ident.Key    // the key of this peer
	Name   string       // the name that others see: 1 to 64 printable characters
	Logger *slog.Logger // may be nil
	// Dial opens the TCP connections. If it is nil, a net.Dialer does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// OnMessage receives the messages of other peers, in order and one at a time.
	// The sender gets its confirmation when OnMessage returns. It must not block.
	// If it is nil, messages are dropped without confirmation.
	OnMessage func(from ident.PeerID, body []byte)
	// NoLinkReports turns ReportLinks off: the rendezvous learns nothing of links.
	NoLinkReports bool
	// OnState is called after every change of the state. It must not block. It may
	// be nil.
	OnState func(State)
}

// Client is an agent's connection to its rendezvous. It uses one signalling
// connection after the other:
//
//	          ┌──────── connection lost: retry with backoff ◄────────┐
//	          ▼                                                      │
//	registering ──► connecting ──► connected ── no answer to a ping ─┤
//	    │  ▲            │                                            │
//	    ▼  │            ▼                                            │
//	   waiting ◄── refused, unreachable          drained, replaced ──┘
//
// An instance that is about to stop asks the agent to move. Then the agent opens
// the next connection while the previous one still works.
//
// Methods may be called concurrently.
type Client struct {
	// Constant after New.
	join        api.JoinLink
	key         ident.Key
	log         *slog.Logger
	dialer      *dialer
	rest        *rest
	onMessage   func(ident.PeerID, []byte)
	onState     func(State)
	links       *linkReports
	reportLinks bool
	probes      chan struct{} // of capacity 1: holds a call of Probe that is not yet handled

	readers sync.WaitGroup // goroutines of all connections, also of those that have a successor

	// Guarded by delivering.
	delivering sync.Mutex
	replays    *window

	// Guarded by mu.
	mu    sync.Mutex
	state State
	conn  *connection // nil while not connected
}

// New returns a client. It starts nothing. It fails if c.URL is not a join link.
func New(c Config) (*Client, error) {
	join, err := api.ParseJoinLink(c.URL)
	if err != nil {
		return nil, err
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if join.Pin != nil {
		config = ident.PinnedTLS(*join.Pin)
	}
	// All connections share one TLS session, whichever instance they reach. When
	// all agents reconnect at the same time, a resumed handshake costs the server
	// a fifth less time. The pin is checked on resumption too.
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	d := &dialer{host: join.Host, tls: config, tcp: c.Dial}
	return &Client{
		join: join, key: c.Key, log: c.Logger,
		dialer: d, rest: newREST(join, c.Key, c.Name, d),
		onMessage: c.OnMessage, onState: c.OnState,
		links: newLinkReports(), reportLinks: !c.NoLinkReports,
		probes:  make(chan struct{}, 1),
		replays: newWindow(),
		state:   State{Since: time.Now(), Reason: "the agent has not connected to the rendezvous yet"},
	}, nil
}

// Server returns the host and the pin of the join link, without the invite.
func (c *Client) Server() api.JoinLink { return api.JoinLink{Host: c.join.Host, Pin: c.join.Pin} }

// Host returns the host:port of the rendezvous.
func (c *Client) Host() string { return c.join.Host }

// Run keeps the agent registered and connected until ctx ends. It returns nil.
func (c *Client) Run(ctx context.Context) error {
	defer c.rest.client.CloseIdleConnections()
	defer c.readers.Wait()
	var retry signal.Backoff
	for ctx.Err() == nil {
		began := time.Now()
		connected, err := c.connect(ctx)
		if ctx.Err() != nil {
			break
		}
		c.rest.client.CloseIdleConnections() // they are probably lost too
		delay := retry.Next(connected && (time.Since(began) > signal.SteadyAge || isBye(err, signal.ByeDraining)))
		if isBye(err, signal.ByeReplaced) {
			delay = signal.MaxDelay // two agents with the same key must not replace each other in a loop
		}
		if pause := retryAfterOf(err); pause > 0 {
			delay = max(delay, signal.Spread(pause))
		}
		c.setState(State{Reason: reason(err)})
		c.log.Info("the connection to the rendezvous failed",
			"err", err, "retry_in", delay.Round(time.Millisecond))
		c.sleep(ctx, delay)
	}
	c.setState(State{Reason: "the agent is stopping"})
	return nil
}

// connect opens a connection and serves it and its successors until the last one
// ends. It reports whether the agent was connected.
func (c *Client) connect(ctx context.Context) (connected bool, err error) {
	if _, err := c.rest.credential(ctx, ""); err != nil && !errors.Is(err, ErrUnavailable) {
		return false, err // while only the database is down, signalling still works
	}
	conn, via, err := c.dialer.dial(ctx, c.key)
	if isBye(err, signal.ByeNotRegistered) {
		c.rest.forget()
	}
	if err != nil {
		return false, err
	}
	for conn != nil && err == nil {
		conn, via, err = c.serve(ctx, conn, via)
	}
	return true, err
}

// serve uses a connection until it ends, and returns the reason as an error. If
// the rendezvous asks the agent to move, serve returns the next connection
// instead.
func (c *Client) serve(ctx context.Context, conn *connection, via Via) (*connection, Via, error) {
	c.setConnection(conn)
	c.setState(State{Connected: true, Via: via})
	c.log.Info("connected to the rendezvous", "host", c.join.Host, "transport", via)

	connCtx, cancel := context.WithCancelCause(ctx)
	var tasks sync.WaitGroup
	tasks.Go(func() {
		if err := conn.keepAlive(connCtx, c.probes); err != nil {
			cancel(err)
		}
	})
	if c.reportLinks {
		tasks.Go(func() {
			if err := c.links.send(connCtx, conn); err != nil {
				cancel(err)
			}
		})
	}
	c.readers.Go(func() { cancel(conn.read(func(m signal.Deliver) bool { return c.deliver(conn, m) })) })

	next, via := c.awaitSuccessor(ctx, connCtx, conn)
	err := context.Cause(connCtx)
	c.setConnection(next)
	cancel(nil)
	tasks.Wait()
	if next == nil {
		conn.close()
		<-conn.ended
		return nil, "", err
	}
	c.log.Info("moved to another instance of the rendezvous")
	c.rest.client.CloseIdleConnections() // they lead to the previous instance too
	c.readers.Go(func() { conn.leave(ctx) })
	return next, via, nil
}

// awaitSuccessor waits until connCtx, the context of conn, ends, and returns nil.
// If the rendezvous asks the agent to move, it opens the next connection and
// returns that.
func (c *Client) awaitSuccessor(ctx, connCtx context.Context, conn *connection) (*connection, Via) {
	select {
	case <-connCtx.Done():
		return nil, ""
	case <-conn.move:
	}
	var retry signal.Backoff
	for {
		next, via, err := c.dialer.dial(ctx, c.key)
		if err == nil {
			return next, via
		}
		delay := retry.Next(false)
		c.log.Debug("cannot connect to another instance of the rendezvous", "err", err, "retry_in", delay)
		timer := time.NewTimer(delay)
		select {
		case <-connCtx.Done():
			timer.Stop()
			return nil, ""
		case <-timer.C:
		}
	}
}

func (c *Client) setConnection(conn *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = conn
}

// deliver opens a sealed message and passes it to onMessage. It reports whether
// onMessage was called.
func (c *Client) deliver(conn *connection, m signal.Deliver) bool {
	c.delivering.Lock()
	defer c.delivering.Unlock()
	e, err := signal.Open(m.Body, m.From, c.key.ID(), time.Now().Add(conn.clockOffset))
	switch {
	case err != nil:
		c.log.Warn("dropped a message with an invalid seal", "peer", m.From.Short(), "err", err)
		return false
	case !c.replays.fresh(e):
		c.log.Warn("dropped a repeated message", "peer", m.From.Short())
		return false
	case c.onMessage == nil:
		return false
	}
	c.onMessage(e.From, e.Body)
	return true
}

// Send seals body for another peer, sends it, and returns nil when the peer's
// agent has received it. body has at most signal.MaxEnvelopeBody bytes. Send does
// not wait for a connection to the rendezvous.
//
// After ErrNotConnected, ErrPeerOffline, ErrNotAllowed, ErrBusy and
// ErrUnavailable the message has not arrived. After ErrUnconfirmed it may have.
func (c *Client) Send(ctx context.Context, to ident.PeerID, body []byte) error {
	c.mu.Lock()
	conn, state := c.conn, c.state
	c.mu.Unlock()
	if conn == nil {
		return fmt.Errorf("%w: %s", ErrNotConnected, state.Reason)
	}
	envelope, err := signal.Seal(c.key, to, body, time.Now().Add(conn.clockOffset), rand.Reader)
	if err != nil {
		return err
	}
	return conn.send(ctx, to, envelope)
}

// Probe should be called when the network may have changed. It does not block.
// The client pings the rendezvous at once and closes the connection if there is
// no answer within 3 s. If it is waiting to connect again, it connects at once.
func (c *Client) Probe() {
	select {
	case c.probes <- struct{}{}:
	default:
	}
}

// State returns the current state.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

func (c *Client) setState(s State) {
	c.mu.Lock()
	s.Since = c.state.Since
	if s.Connected != c.state.Connected {
		s.Since = time.Now()
	}
	changed := s != c.state
	c.state = s
	c.mu.Unlock()
	if changed && c.onState != nil {
		c.onState(s)
	}
}

// sleep waits until the delay has passed, ctx ends or Probe is called.
func (c *Client) sleep(ctx context.Context, delay time.Duration) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-c.probes:
	}
}
