package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/internal/limits"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// The protocols inside TLS in addition to signalling, as ALPN names them.
const (
	alpnTURN = "stun.turn" // RFC 7443 section 3.1
	alpnHTTP = "http/1.1"
)

// Config describes a Listener. Public, TLS, Signal, Relay and Logger are required.
type Config struct {
	Public net.Listener // TLS: HTTPS, signalling, TURN over TLS
	TURN   net.Listener // STUN and TURN over TCP; may be nil
	Plain  net.Listener // HTTP without TLS, for Proxies only; may be nil

	TLS    *tls.Config                      // its NextProtos are offered after those of this package
	Signal func(context.Context, *tls.Conn) // takes over a signalling connection and returns soon
	Relay  func(net.Conn)                   // serves a TURN connection until it ends

	Balancers       []netip.Prefix // networks of load balancers, whose connections begin with a PROXY header
	Proxies         []netip.Prefix // networks of reverse proxies, which connect for many clients
	PerSource       int            // maximum number of connections of one source; 0: 1024
	GreetingTimeout time.Duration  // from accept to the known protocol: header, handshake, first byte; 0: 10 s

	Logger *slog.Logger
	Now    func() time.Time // nil: the machine's clock
}

const (
	defaultPerSource       = 1024
	defaultGreetingTimeout = 10 * time.Second
	writeTimeout           = 30 * time.Second // of one write to an HTTP client
	acceptRetryInterval    = 100 * time.Millisecond
)

// Listener accepts connections and dispatches them by protocol; see the package comment.
type Listener struct {
	// Static after New.
	cfg       Config
	tls       *tls.Config
	admission *admission
	log       *limitedLog
	https     *queue
	http      *queue // may be nil
	turn      *queue // may be nil
	running   sync.WaitGroup

	// Guarded by mu.
	mu     sync.Mutex
	conns  map[*conn]struct{}
	closed bool
}

// New returns a Listener. It starts nothing.
func New(c Config) (*Listener, error) {
	if c.Public == nil || c.TLS == nil || c.Signal == nil || c.Relay == nil || c.Logger == nil {
		return nil, errors.New("listener: Public, TLS, Signal, Relay and Logger are required")
	}
	if c.PerSource == 0 {
		c.PerSource = defaultPerSource
	}
	if c.PerSource < 0 {
		return nil, fmt.Errorf("connections of one source: %d, want at least 1", c.PerSource)
	}
	if c.GreetingTimeout == 0 {
		c.GreetingTimeout = defaultGreetingTimeout
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	l := &Listener{
		cfg: c, tls: c.TLS.Clone(), admission: newAdmission(c.PerSource), log: newLimitedLog(c.Logger, c.Now),
		https: newQueue(c.Public.Addr(), nil), conns: map[*conn]struct{}{},
	}
	l.tls.NextProtos = append([]string{signal.ALPN, alpnTURN, alpnHTTP}, c.TLS.NextProtos...)
	if c.Plain != nil {
		l.http = newQueue(c.Plain.Addr(), nil)
	}
	if c.TURN != nil {
		l.turn = newQueue(c.TURN.Addr(), c.TURN)
	}
	return l, nil
}

// HTTPS returns the listener of HTTP inside TLS. Its server needs ConnContext and WithTLS.
func (l *Listener) HTTPS() net.Listener { return l.https }

// HTTP returns the listener of HTTP from reverse proxies, or nil without Config.Plain.
func (l *Listener) HTTP() net.Listener {
	if l.http == nil {
		return nil
	}
	return l.http
}

// TURN returns the listener of STUN and TURN over TCP, or nil without Config.TURN. Closing it also closes Config.TURN.
func (l *Listener) TURN() net.Listener {
	if l.turn == nil {
		return nil
	}
	return l.turn
}

// Run accepts connections until ctx ends. Then it closes every connection, including those that it has handed on. It
// always returns nil.
func (l *Listener) Run(ctx context.Context) error {
	accept := func(from net.Listener, serve func(context.Context, *conn) error) {
		if from != nil {
			l.running.Go(func() { l.accept(ctx, from, serve) })
		}
	}
	accept(l.cfg.Public, l.servePublic)
	accept(l.cfg.TURN, l.serveTURN)
	accept(l.cfg.Plain, l.servePlain)
	<-ctx.Done()
	l.close()
	l.running.Wait()
	return nil
}

// accept accepts connections until the listener from is closed.
func (l *Listener) accept(ctx context.Context, from net.Listener, serve func(context.Context, *conn) error) {
	for {
		raw, err := from.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // for example because the process has too many open files
			l.log.Warn("cannot accept a connection", "err", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(acceptRetryInterval):
			}
			continue
		}
		c := &conn{Conn: raw, listener: l, remote: raw.RemoteAddr()}
		if !l.remember(c) {
			raw.Close()
			return
		}
		if !l.admission.admit(ctx, c, l.cfg.Now) {
			c.Close()
			return
		}
		l.running.Go(func() {
			if err := l.identify(c); err != nil {
				l.log.Warn("refused a connection", "remote_addr", c.remote, "proxy_addr", raw.RemoteAddr(), "err", err)
				c.Close()
			} else if err := serve(ctx, c); err != nil {
				l.log.Debug("closed a connection that no service took", "remote_addr", c.remote, "err", err)
				c.Close()
			}
		})
	}
}

// identify finds out which client a connection is from and counts the connection for that client's source.
func (l *Listener) identify(c *conn) error {
	c.SetDeadline(time.Now().Add(l.cfg.GreetingTimeout))
	a, err := addressOf(c.remote)
	if err != nil {
		return err
	}
	if within(l.cfg.Balancers, a) {
		source, early, err := readHeader(c.Conn)
		if err != nil {
			return err
		}
		c.early = early
		if source == nil {
			return nil // a health check of the load balancer itself
		}
		c.remote = source
		if a, err = addressOf(source); err != nil {
			return err
		}
	}
	if within(l.cfg.Proxies, a) {
		return nil
	}
	return l.admission.count(c, limits.Prefix(a))
}

// remember registers a connection, so that close finds it. It reports false if the listener is closed.
func (l *Listener) remember(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.conns[c] = struct{}{}
	}
	return !l.closed
}

func (l *Listener) forget(c *conn) {
	l.admission.leave(c)
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// close closes all listeners and connections.
func (l *Listener) close() {
	l.cfg.Public.Close()
	for _, q := range []*queue{l.https, l.http, l.turn} {
		if q != nil {
			q.Close()
		}
	}
	if l.cfg.Plain != nil {
		l.cfg.Plain.Close()
	}
	l.mu.Lock()
	l.closed = true
	conns := make([]*conn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// Stats describes the connections at one moment.
type Stats struct {
	Connections int    // open connections of every kind
	Pending     int    // of those, the ones whose protocol is not known yet
	Refused     uint64 // connections ever refused because their source had too many
}

// Stats returns the current figures.
func (l *Listener) Stats() Stats {
	l.mu.Lock()
	s := Stats{Connections: len(l.conns)}
	l.mu.Unlock()
	s.Pending, s.Refused = l.admission.stats()
	return s
}
