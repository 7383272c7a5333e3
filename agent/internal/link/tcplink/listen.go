package tcplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"

	"golang.org/x/time/rate"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/internal/limits"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Bounds on pending connections, which are not yet part of a link.
const (
	acceptsPerSecond  = 50
	acceptBurst       = 100
	maxPending        = 128
	maxPendingPerHost = 16 // from one IP address
)

// Config configures a [Listener].
type Config struct {
	Key  ident.Key
	Mode Mode
	// Listen is the address to listen on, such as ":7574".
	Listen string
	// Trust returns nil if a peer may connect. It is required and must allow
	// concurrent calls.
	Trust func(ident.PeerID) error
	// Accept takes over each link that a trusted peer has dialed. It is required
	// and must not block.
	Accept func(link.Link)
	Logger *slog.Logger // nil discards
}

// Listener accepts links in one mode.
type Listener struct {
	// Static after construction.
	cfg      Config
	tcp      net.Listener
	security *security
	accepts  *rate.Limiter

	pending *limits.Counter[string] // pending connections, by IP address

	mu      sync.Mutex
	waiting map[waitingKey]*waitingHalf // guarded by mu
}

// waitingKey identifies a link of which one connection has joined.
type waitingKey struct {
	peer ident.PeerID
	link [16]byte
}

// waitingHalf is a connection that waits for the other one of its link.
type waitingHalf struct {
	half   *half
	role   role
	joined chan struct{} // closed when the other connection has taken over half
}

// NewListener opens the port. The caller must then call Run or Close.
func NewListener(cfg Config) (*Listener, error) {
	if cfg.Trust == nil || cfg.Accept == nil {
		return nil, errors.New("TCP listener: Trust and Accept are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := newSecurity(cfg.Mode, sideAcceptor, cfg.Key, cfg.Trust)
	if err != nil {
		return nil, fmt.Errorf("TCP listener: %w", err)
	}
	tcp, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for links over TCP: %w", err)
	}
	return &Listener{
		cfg: cfg, tcp: tcp, security: s, accepts: rate.NewLimiter(acceptsPerSecond, acceptBurst),
		pending: limits.NewCounter[string](maxPendingPerHost, maxPending), waiting: make(map[waitingKey]*waitingHalf),
	}, nil
}

// Addr returns the address that the listener listens on.
func (l *Listener) Addr() net.Addr { return l.tcp.Addr() }

// Close closes the port of a listener whose Run is never called.
func (l *Listener) Close() error { return l.tcp.Close() }

// Run accepts links until ctx ends. Links that Accept has taken over stay up. It
// must be called once.
func (l *Listener) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var handshakes sync.WaitGroup
	defer handshakes.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.tcp.Close() })
	defer stop()
	for {
		if err := l.accepts.Wait(ctx); err != nil {
			return nil // ctx ended
		}
		conn, err := l.tcp.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept TCP connections: %w", err)
		}
		if err != nil { // such as a lack of file descriptors; the limiter bounds the rate of this loop
			l.cfg.Logger.Warn("cannot accept a TCP connection", "err", err)
			continue
		}
		host := hostOf(conn)
		if !l.pending.Enter(host) {
			_ = conn.Close()
			continue
		}
		handshakes.Go(func() {
			defer l.pending.Leave(host)
			if err := l.serve(ctx, conn); err != nil {
				_ = conn.Close()
				l.cfg.Logger.Debug("refused a TCP connection",
					"transport", l.cfg.Mode, "remote_addr", conn.RemoteAddr(), "err", err)
			}
		})
	}
}

func hostOf(conn net.Conn) string {
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return a.IP.String()
	}
	return ""
}

// serve authenticates the peer on a new connection and joins the connection to
// its link.
func (l *Listener) serve(ctx context.Context, conn net.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	tune(conn)
	raw := &rawConn{Conn: conn}
	release, err := limitHandshake(ctx, raw)
	if err != nil {
		return err
	}
	secure, peer, err := l.security.secure(ctx, raw)
	if err != nil {
		_ = release()
		return err
	}
	first := make([]byte, joinSize)
	_, err = io.ReadFull(secure, first)
	if ended := release(); ended != nil {
		return ended
	}
	if err != nil {
		return handshakeError(err)
	}
	j, err := decodeJoin(first)
	if err != nil {
		return err
	}
	return l.join(ctx, peer, j, newHalf(raw, secure))
}

// join makes a link when its second connection joins. The call for the first
// connection waits until then.
func (l *Listener) join(ctx context.Context, peer ident.PeerID, j join, h *half) error {
	key := waitingKey{peer, j.link}
	l.mu.Lock()
	other, ok := l.waiting[key]
	me := &waitingHalf{half: h, role: j.role, joined: make(chan struct{})}
	switch {
	case !ok:
		l.waiting[key] = me
	case other.role == j.role:
		l.mu.Unlock()
		return fmt.Errorf("the link already has a connection for %s lanes", j.role)
	default:
		delete(l.waiting, key)
		close(other.joined)
	}
	l.mu.Unlock()
	if ok {
		var halves [roles]*half
		halves[j.role], halves[other.role] = h, other.half
		l.cfg.Accept(newLink(l.cfg.Mode, halves, peer, false))
		return nil
	}
	select {
	case <-me.joined:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting[key] != me {
		return nil // the other connection joined just now
	}
	delete(l.waiting, key)
	return fmt.Errorf("the link's other connection did not join within %v", handshakeTimeout)
}
