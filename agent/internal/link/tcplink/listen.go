package tcplink

import (
	"context"
	"crypto/tls"
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

// Bounds on strangers: connections that are not yet part of a link.
const (
	acceptsPerSecond = 50
	acceptBurst      = 100
	maxHalfOpen      = 128
	maxHalfOpenHost  = 16 // from one IP address
)

// Config is what [NewListener] needs.
type Config struct {
	Key  ident.Key
	Mode Mode
	// Listen is the address to listen on, as ":7574" for TLS.
	Listen string
	// Trust says whether a peer may connect; nil accepts. It is required, and
	// is asked by several goroutines at once.
	Trust func(ident.PeerID) error
	// Accept takes over each link that a trusted peer has dialed. It must not
	// block. Required.
	Accept func(link.Link)
	Logger *slog.Logger // nothing by default
}

// Listener accepts links in one mode.
type Listener struct {
	// Static after construction.
	cfg    Config
	tcp    net.Listener
	serve  *tls.Config
	accept *rate.Limiter // of new connections

	strangers *limits.Counter[string] // connections that are not yet part of a link, by IP address

	mu      sync.Mutex
	waiting map[waitingKey]*arrival // guarded by mu
}

// waitingKey is a link of which one connection has come.
type waitingKey struct {
	peer ident.PeerID
	link [16]byte
}

// arrival is a connection that waits for the link's other one.
type arrival struct {
	half   *half
	role   role
	joined chan struct{} // closed when the other has come and taken half over
}

// NewListener opens the port. Run must follow, or Close.
func NewListener(cfg Config) (*Listener, error) {
	if cfg.Trust == nil || cfg.Accept == nil {
		return nil, errors.New("TCP listener: Trust and Accept are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	serve, err := ident.MutualTLS(cfg.Key, alpn, cfg.Trust)
	if err != nil {
		return nil, fmt.Errorf("TCP listener: %w", err)
	}
	tcp, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for links over TCP: %w", err)
	}
	return &Listener{
		cfg: cfg, tcp: tcp, serve: serve, accept: rate.NewLimiter(acceptsPerSecond, acceptBurst),
		strangers: limits.NewCounter[string](maxHalfOpenHost, maxHalfOpen), waiting: make(map[waitingKey]*arrival),
	}, nil
}

// Addr is the address that is listened on.
func (l *Listener) Addr() net.Addr { return l.tcp.Addr() }

// Close lets go of the port of a listener whose Run is never called.
func (l *Listener) Close() error { return l.tcp.Close() }

// Run accepts links until ctx ends. Links that were handed over are not its
// own any more and stay. It is called once.
func (l *Listener) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var strangers sync.WaitGroup
	defer strangers.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.tcp.Close() })
	defer stop()
	for {
		if err := l.accept.Wait(ctx); err != nil {
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
		if err != nil { // as for want of file descriptors; the limiter keeps this from spinning
			l.cfg.Logger.Warn("cannot accept a TCP connection", "error", err)
			continue
		}
		host := hostOf(conn)
		if !l.strangers.Enter(host) {
			_ = conn.Close()
			continue
		}
		strangers.Go(func() {
			defer l.strangers.Leave(host)
			if err := l.serveConn(ctx, conn); err != nil {
				_ = conn.Close()
				l.cfg.Logger.Debug("TCP connection refused", "mode", l.cfg.Mode, "from", conn.RemoteAddr(), "error", err)
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

// serveConn takes a connection to its place in a link.
func (l *Listener) serveConn(ctx context.Context, conn net.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	tune(conn)
	w := &wire{Conn: conn}
	release, err := limit(ctx, w)
	if err != nil {
		return err
	}
	secure, peer, err := l.handshake(ctx, w)
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
		return handshakeRead(err)
	}
	j, err := decodeJoin(first)
	if err != nil {
		return err
	}
	return l.join(ctx, peer, j, newHalf(w, secure))
}

func (l *Listener) handshake(ctx context.Context, w *wire) (net.Conn, ident.PeerID, error) {
	if l.cfg.Mode == Plain {
		return plainAccept(w, l.cfg.Key, l.cfg.Trust)
	}
	t := tls.Server(w, l.serve)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, ident.PeerID{}, handshakeRead(err)
	}
	peer, err := ident.PeerOf(t.ConnectionState())
	return t, peer, err
}

// join brings a link's two connections together: the first to come waits, the
// second makes the link.
func (l *Listener) join(ctx context.Context, peer ident.PeerID, j join, h *half) error {
	key := waitingKey{peer, j.link}
	l.mu.Lock()
	other, ok := l.waiting[key]
	me := &arrival{half: h, role: j.role, joined: make(chan struct{})}
	switch {
	case !ok:
		l.waiting[key] = me
	case other.role == j.role:
		l.mu.Unlock()
		return fmt.Errorf("a link's second %s connection", j.role)
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
		return nil // the other came at the last moment
	}
	delete(l.waiting, key)
	return fmt.Errorf("the link's other connection has not come within %v", handshakeTime)
}
