package front

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

	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/subscriber"
)

// The protocols inside of TLS beside signalling.
const (
	alpnTURN = "stun.turn" // RFC 7443 section 3.1
	alpnHTTP = "http/1.1"
)

// Config is what a front door needs.
type Config struct {
	Public net.Listener // TLS: HTTPS, signalling, TURN over TLS
	TURN   net.Listener // STUN and TURN over TCP; nil without
	Plain  net.Listener // HTTP without TLS, for Proxies only; nil without

	TLS    *tls.Config                      // its NextProtos are offered behind those of this package
	Signal func(context.Context, *tls.Conn) // has a signalling connection served and closed
	Relay  func(net.Conn)                   // serves and closes a TURN connection

	Balancers []netip.Prefix // networks of load balancers, whose connections begin with a PROXY header
	Proxies   []netip.Prefix // networks of reverse proxies, who connect for many
	PerSource int            // connections of one source; 0: 1024
	Greeting  time.Duration  // from the accept to what it wants: header, handshake, first byte; 0: 10 s

	Logger *slog.Logger
	Now    func() time.Time // nil: the machine's clock
}

// Times of a connection.
const (
	defaultGreeting = 10 * time.Second // of Config.Greeting
	writeStall      = 30 * time.Second // one write to an HTTP client
	acceptRepose    = 100 * time.Millisecond
)

const defaultPerSource = 1024

// Front is the front door. What it hands on to a listener of its own is served
// by whoever accepts there.
type Front struct {
	// Static after New.
	cfg     Config
	tls     *tls.Config
	limits  *limits
	log     *journal
	http    *queue
	plain   *queue // nil without
	turn    *queue // nil without
	running sync.WaitGroup

	// Guarded by mu.
	mu     sync.Mutex
	conns  map[*conn]struct{}
	closed bool
}

// New makes a front door. It starts nothing.
func New(c Config) (*Front, error) {
	if c.Public == nil || c.TLS == nil || c.Signal == nil || c.Relay == nil || c.Logger == nil {
		return nil, errors.New("front door: a listener, TLS, services and a logger are needed")
	}
	if c.PerSource == 0 {
		c.PerSource = defaultPerSource
	}
	if c.PerSource < 0 {
		return nil, fmt.Errorf("connections of one source: %d, want at least 1", c.PerSource)
	}
	if c.Greeting == 0 {
		c.Greeting = defaultGreeting
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	f := &Front{
		cfg: c, tls: c.TLS.Clone(), limits: newLimits(c.PerSource), log: newJournal(c.Logger, c.Now),
		http: newQueue(c.Public.Addr(), nil), conns: map[*conn]struct{}{},
	}
	f.tls.NextProtos = append([]string{signal.ALPN, alpnTURN, alpnHTTP}, c.TLS.NextProtos...)
	if c.Plain != nil {
		f.plain = newQueue(c.Plain.Addr(), nil)
	}
	if c.TURN != nil {
		f.turn = newQueue(c.TURN.Addr(), c.TURN)
	}
	return f, nil
}

// HTTPS is the listener of HTTP inside of TLS; see ConnContext and WithTLS.
func (f *Front) HTTPS() net.Listener { return f.http }

// HTTP is the listener of HTTP from reverse proxies, nil without.
func (f *Front) HTTP() net.Listener {
	if f.plain == nil {
		return nil
	}
	return f.plain
}

// TURN is the listener of STUN and TURN over TCP, nil without. Closing it closes
// the one that it stands for.
func (f *Front) TURN() net.Listener {
	if f.turn == nil {
		return nil
	}
	return f.turn
}

// Run takes connections until ctx ends, and closes all that it has handed on. It
// returns nil.
func (f *Front) Run(ctx context.Context) error {
	accept := func(l net.Listener, serve func(context.Context, *conn) error) {
		if l != nil {
			f.running.Go(func() { f.accept(ctx, l, serve) })
		}
	}
	accept(f.cfg.Public, f.servePublic)
	accept(f.cfg.TURN, f.serveTURN)
	accept(f.cfg.Plain, f.servePlain)
	<-ctx.Done()
	f.close()
	f.running.Wait()
	return nil
}

// accept takes the connections of one listener until that is closed.
func (f *Front) accept(ctx context.Context, l net.Listener, serve func(context.Context, *conn) error) {
	for {
		raw, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return // by whom it belongs to
		}
		if err != nil {
			f.log.warn("cannot accept a connection", "reason", err) // such as too many open files
			select {
			case <-ctx.Done():
				return
			case <-time.After(acceptRepose):
			}
			continue
		}
		c := &conn{Conn: raw, front: f, remote: raw.RemoteAddr()}
		if !f.remember(c) {
			raw.Close()
			return
		}
		if !f.limits.begin(ctx, c, f.cfg.Now) {
			c.Close()
			return
		}
		f.running.Go(func() {
			if err := f.introduce(c); err != nil {
				f.log.warn("refused a connection", "from", c.remote, "through", raw.RemoteAddr(), "reason", err)
				c.Close()
			} else if err := serve(ctx, c); err != nil {
				f.log.debug("a connection came to nothing", "from", c.remote, "reason", err)
				c.Close()
			}
		})
	}
}

// introduce finds out who is at the other end and counts the connection as its.
func (f *Front) introduce(c *conn) error {
	c.SetDeadline(time.Now().Add(f.cfg.Greeting))
	a, err := addressOf(c.remote)
	if err != nil {
		return err
	}
	if within(f.cfg.Balancers, a) {
		source, early, err := readHeader(c.Conn)
		if err != nil {
			return err
		}
		c.early = early
		if source == nil {
			return nil // a load balancer's health check
		}
		c.remote = source
		if a, err = addressOf(source); err != nil {
			return err
		}
	}
	if within(f.cfg.Proxies, a) {
		return nil
	}
	return f.limits.enter(c, subscriber.Of(a))
}

func (f *Front) remember(c *conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.conns[c] = struct{}{}
	}
	return !f.closed
}

func (f *Front) forget(c *conn) {
	f.limits.leave(c)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, c)
}

// close closes everything.
func (f *Front) close() {
	f.cfg.Public.Close()
	for _, q := range []*queue{f.http, f.plain, f.turn} {
		if q != nil {
			q.Close()
		}
	}
	if f.cfg.Plain != nil {
		f.cfg.Plain.Close()
	}
	f.mu.Lock()
	f.closed = true
	conns := make([]*conn, 0, len(f.conns))
	for c := range f.conns {
		conns = append(conns, c)
	}
	f.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}
