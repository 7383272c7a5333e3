package rvclient

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// Config is what a client needs.
type Config struct {
	URL    string    // the join link, see api.JoinLink
	Key    ident.Key // who this agent is
	Name   string    // what others see; 1 to 64 printable characters
	Logger *slog.Logger
	// Dial makes the TCP connections; nil: the machine's network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// OnMessage gets what other peers send, in order, one message at a time. The
	// sender is told that the message has arrived once it returns; it must not
	// block. Nil drops every message unconfirmed.
	OnMessage func(from ident.PeerID, body []byte)
	// NoPaths keeps what TellPaths says to this agent.
	NoPaths bool
	// OnState is told of every change of state; it must not block. Nil is fine.
	OnState func(State)
}

// Client is an agent's connection to its rendezvous, over many signalling
// connections in turn:
//
//	          ┌──────────────── lost: soon, later with backoff ◄─────┐
//	          ▼                                                      │
//	registering ──► connecting ──► connected ── Probe finds it dead ─┤
//	    │  ▲            │                                            │
//	    ▼  │            ▼                                            │
//	   waiting ◄── refused, unreachable          drained, replaced ──┘
//
// An instance that is about to stop asks for a move instead: then the next
// connection is made while the one before still serves.
type Client struct {
	// Static after New.
	join      api.JoinLink
	key       ident.Key
	name      string
	log       *slog.Logger
	tls       *tls.Config
	dialer    *dialer
	rest      *rest
	onMessage func(ident.PeerID, []byte)
	onState   func(State)
	paths     *paths
	tellPaths bool
	doubt     chan struct{} // holds one: a Probe that has not been seen yet

	open sync.WaitGroup // connections, also those that have a successor, until they have ended

	// Guarded by delivering.
	delivering sync.Mutex
	replays    *window

	// Guarded by mu.
	mu    sync.Mutex
	state State
	conn  *connection // nil while not connected
}

// New makes a client. It starts nothing.
func New(c Config) (*Client, error) {
	join, err := api.ParseJoinLink(c.URL)
	if err != nil {
		return nil, err
	}
	client := &Client{
		join: join, key: c.Key, name: c.Name, log: c.Logger,
		tls:       &tls.Config{MinVersion: tls.VersionTLS13},
		onMessage: c.OnMessage, onState: c.OnState,
		paths: newPaths(), tellPaths: !c.NoPaths,
		doubt:   make(chan struct{}, 1),
		replays: newWindow(),
		state:   State{Since: time.Now(), Reason: "the agent has not connected to the rendezvous yet"},
	}
	if client.log == nil {
		client.log = slog.New(slog.DiscardHandler)
	}
	if join.Pin != nil {
		client.tls = ident.PinnedTLS(*join.Pin)
	}
	// Every way to the rendezvous resumes the session of any before it, at
	// whichever instance it ends up: that spares the server, when all agents come
	// back at once, a fifth of a handshake's time. The pin is checked all the same.
	client.tls.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	client.dialer = &dialer{host: join.Host, tls: client.tls, tcp: c.Dial}
	web := client.tls.Clone()
	web.NextProtos = []string{alpnHTTP}
	transport := &http.Transport{DialContext: c.Dial, TLSClientConfig: web, IdleConnTimeout: time.Minute, MaxConnsPerHost: 32}
	client.rest = &rest{
		base:     "https://" + join.Host,
		client:   &http.Client{Transport: transport},
		register: client.register,
	}
	return client, nil
}

// Server is where the rendezvous is and by what it is known, without the invite.
func (c *Client) Server() api.JoinLink { return api.JoinLink{Host: c.join.Host, Pin: c.join.Pin} }

// Host is the rendezvous's host:port.
func (c *Client) Host() string { return c.join.Host }

// Run keeps the agent registered and connected until ctx ends. It returns nil.
func (c *Client) Run(ctx context.Context) error {
	defer c.rest.client.CloseIdleConnections()
	defer c.open.Wait()
	var retry signal.Backoff
	for ctx.Err() == nil {
		began := time.Now()
		connected, err := c.connect(ctx)
		if ctx.Err() != nil {
			break
		}
		c.rest.client.CloseIdleConnections() // they went the way of the signalling connection
		delay := retry.Next(connected && (time.Since(began) > signal.SteadyAge || said(err, signal.ByeDraining)))
		if said(err, signal.ByeReplaced) {
			delay = signal.MaxDelay // whoever replaced us is there now; do not fight
		}
		if pause := pauseOf(err); pause > 0 {
			delay = max(delay, signal.Spread(pause))
		}
		c.setState(State{Reason: reason(err)})
		c.log.Info("no connection to the rendezvous", "reason", err, "again_in", delay.Round(time.Millisecond))
		c.sleep(ctx, delay)
	}
	c.setState(State{Reason: "the agent is stopping"})
	return nil
}

// connect makes one connection and serves it until it ends. It reports whether
// there was one.
func (c *Client) connect(ctx context.Context) (connected bool, err error) {
	if _, err := c.rest.credential(ctx, ""); err != nil && !errors.Is(err, ErrUnavailable) {
		return false, err // a server that only lacks its database may still let us signal
	}
	conn, via, err := c.dialer.dial(ctx, c.key)
	if said(err, signal.ByeNotRegistered) {
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

// serve runs a connection until it ends, and returns why, or until the agent has
// moved to another, which it returns.
func (c *Client) serve(ctx context.Context, conn *connection, via Via) (*connection, Via, error) {
	c.setConnection(conn)
	c.setState(State{Connected: true, Via: via})
	c.log.Info("connected to the rendezvous", "host", c.join.Host, "via", via)

	living, cancel := context.WithCancelCause(ctx)
	var alive sync.WaitGroup
	alive.Go(func() {
		if err := conn.keepAlive(living, c.doubt); err != nil {
			cancel(err)
		}
	})
	if c.tellPaths {
		alive.Go(func() {
			if err := c.paths.tell(living, conn); err != nil {
				cancel(err)
			}
		})
	}
	c.open.Go(func() { cancel(conn.read(func(m signal.Deliver) bool { return c.deliver(conn, m) })) })

	next, via := c.await(ctx, living, conn)
	err := context.Cause(living)
	c.setConnection(next)
	cancel(nil)
	alive.Wait()
	if next == nil {
		conn.close()
		<-conn.ended
		return nil, "", err
	}
	c.log.Info("leaving an instance of the rendezvous that stops")
	c.rest.client.CloseIdleConnections() // they lead there too
	c.open.Go(func() { conn.leave(ctx) })
	return next, via, nil
}

// await waits until a connection ends, living with it, or has a successor, which
// it returns.
func (c *Client) await(ctx, living context.Context, conn *connection) (*connection, Via) {
	select {
	case <-living.Done():
		return nil, ""
	case <-conn.move:
	}
	var retry signal.Backoff
	for {
		next, via, err := c.dialer.dial(ctx, c.key)
		if err == nil {
			return next, via
		}
		c.log.Debug("not connected to another instance of the rendezvous yet", "reason", err)
		delay := time.NewTimer(retry.Next(false))
		select {
		case <-living.Done():
			delay.Stop()
			return nil, ""
		case <-delay.C:
		}
	}
}

func (c *Client) setConnection(conn *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = conn
}

// deliver opens what came from another peer and hands it on.
func (c *Client) deliver(conn *connection, m signal.Deliver) bool {
	c.delivering.Lock()
	defer c.delivering.Unlock()
	e, err := signal.Open(m.Body, m.From, c.key.ID(), time.Now().Add(conn.ahead))
	switch {
	case err != nil:
		c.log.Warn("dropped a message that its sender did not seal", "from", m.From.Short(), "reason", err)
		return false
	case !c.replays.fresh(e):
		c.log.Warn("dropped a message that was seen before", "from", m.From.Short())
		return false
	case c.onMessage == nil:
		return false
	}
	c.onMessage(e.From, e.Body)
	return true
}

// Send seals body, at most signal.MaxEnvelopeBody bytes, for another peer and
// returns nil once its agent has it. It does not wait for a connection to come
// up. Errors: ErrNotConnected, ErrPeerOffline, ErrNotAllowed, ErrBusy and
// ErrUnavailable, after which the message has not arrived; ErrUnconfirmed,
// after which it may have.
func (c *Client) Send(ctx context.Context, to ident.PeerID, body []byte) error {
	c.mu.Lock()
	conn, state := c.conn, c.state
	c.mu.Unlock()
	if conn == nil {
		return fmt.Errorf("%w: %s", ErrNotConnected, state.Reason)
	}
	envelope, err := signal.Seal(c.key, to, body, time.Now().Add(conn.ahead), rand.Reader)
	if err != nil {
		return err
	}
	return conn.send(ctx, to, envelope)
}

// Probe says that the network may have changed: a connection is tested at once
// and given up after 3 s without an answer, a wait before the next attempt
// ends. It does not block.
func (c *Client) Probe() {
	select {
	case c.doubt <- struct{}{}:
	default:
	}
}

// State tells whether the agent can be found now.
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

// sleep waits for the delay, ctx or a Probe.
func (c *Client) sleep(ctx context.Context, delay time.Duration) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-c.doubt:
	}
}

// reason is the sentence of a failed or lost connection.
func reason(err error) string {
	var bye *byeError
	switch {
	case errors.As(err, &bye) && bye.code == signal.ByeReplaced:
		return "another agent with the same key has connected to the rendezvous: run only one of them"
	case errors.As(err, &bye):
		return bye.Error()
	case errors.Is(err, ident.ErrUntrusted):
		return "the server at this address is not the rendezvous of the join link (its key differs): get a new join link, or find out who answers there"
	}
	return "the rendezvous cannot be used: " + err.Error()
}
