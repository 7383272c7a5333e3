package quiclink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"golang.org/x/time/rate"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Above this rate of handshakes a dialer must first prove that it receives packets
// at its address (RFC 9000 section 8.1.2). That costs the dialer a round trip and
// needs no state here.
const (
	freeHandshakes      = 20 // per second
	freeHandshakesBurst = 40
)

// Config configures an [Endpoint].
type Config struct {
	Key ident.Key
	// Conn is the socket to use. The endpoint takes it over. If it is nil, the
	// endpoint opens one on the UDP address Listen, by default ":0".
	Conn   *net.UDPConn
	Listen string
	// Trust returns nil if a peer may connect. It is required and must allow
	// concurrent calls.
	Trust func(ident.PeerID) error
	// Accept takes over each link that a trusted peer has dialed. It is required
	// and must not block.
	Accept func(link.Link)
	// PathOf returns the path of an accepted link. Empty addresses are filled in.
	// By default the path has the rank link.RankHost.
	PathOf func(peer ident.PeerID, remote net.Addr) link.Path
	Logger *slog.Logger // nil discards
}

// Endpoint dials and accepts links on one UDP socket; see the package comment.
type Endpoint struct {
	// Static after construction.
	cfg       Config
	socket    *socket
	transport *engineTransport
	serve     *tls.Config

	running chan struct{}   // closed when Run has begun
	ctx     context.Context // ends when Run begins to end
	stop    context.CancelFunc

	mu      sync.Mutex               // also held when ctx ends
	links   map[*engineConn]struct{} // guarded by mu: connections that are up
	wrapped sync.WaitGroup           // wrapped packet connections; Add is called with mu held, before ctx ends
}

// ErrNotRunning is the error of an endpoint whose Run has ended.
var ErrNotRunning = errors.New("the QUIC endpoint is stopped")

// NewEndpoint opens the socket. The caller must then call Run or Close.
func NewEndpoint(cfg Config) (*Endpoint, error) {
	if cfg.Trust == nil || cfg.Accept == nil {
		return nil, errors.New("QUIC endpoint: Trust and Accept are required")
	}
	if cfg.PathOf == nil {
		cfg.PathOf = func(ident.PeerID, net.Addr) link.Path { return link.Path{Rank: link.RankHost} }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	serve, err := ident.MutualTLS(cfg.Key, alpn, cfg.Trust)
	if err != nil {
		return nil, fmt.Errorf("QUIC endpoint: %w", err)
	}
	if cfg.Conn == nil {
		if cfg.Conn, err = listen(cfg.Listen); err != nil {
			return nil, err
		}
	}
	s := newSocket(cfg.Conn)
	free := rate.NewLimiter(freeHandshakes, freeHandshakesBurst)
	ctx, stop := context.WithCancel(context.Background())
	return &Endpoint{
		cfg: cfg, socket: s, serve: serve, ctx: ctx, stop: stop,
		transport: &engineTransport{
			Conn: s, ConnectionIDGenerator: connectionIDs{},
			VerifySourceAddress: func(net.Addr) bool { return !free.Allow() },
		},
		running: make(chan struct{}), links: make(map[*engineConn]struct{}),
	}, nil
}

func listen(address string) (*net.UDPConn, error) {
	if address == "" {
		address = ":0"
	}
	at, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, fmt.Errorf("UDP address to listen on: %w", err)
	}
	conn, err := net.ListenUDP("udp", at)
	if err != nil {
		return nil, fmt.Errorf("open the UDP socket for links (another port may be chosen with --listen): %w", err)
	}
	return conn, nil
}

// LocalAddr returns the socket's address, a *net.UDPAddr.
func (e *Endpoint) LocalAddr() net.Addr { return e.socket.LocalAddr() }

// Run accepts links until ctx ends. Then it closes the socket and all links,
// also those over wrapped packet connections. It must be called once.
func (e *Endpoint) Run(ctx context.Context) error {
	defer e.shutDown()
	listener, err := e.transport.Listen(e.serve, config(false))
	if err != nil {
		return fmt.Errorf("accept QUIC connections: %w", err)
	}
	close(e.running)
	for {
		conn, err := listener.Accept(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept QUIC connections: %w", err)
		}
		e.accept(conn)
	}
}

func (e *Endpoint) accept(conn *engineConn) {
	peer, err := ident.PeerOf(conn.ConnectionState().TLS)
	if err == nil {
		var l *quicLink
		if l, err = e.adopt(conn, false, e.cfg.PathOf(peer, conn.RemoteAddr())); err == nil {
			e.cfg.Accept(l)
			return
		}
	}
	e.cfg.Logger.Debug("refused a QUIC connection", "remote_addr", conn.RemoteAddr(), "err", err)
	_ = conn.CloseWithError(0, "refused")
}

// adopt makes a link and remembers its connection until it ends.
func (e *Endpoint) adopt(conn *engineConn, dialed bool, path link.Path) (*quicLink, error) {
	l, err := newLink(conn, dialed, path)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		return nil, ErrNotRunning
	}
	e.links[conn] = struct{}{}
	context.AfterFunc(conn.Context(), func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.links, conn)
	})
	return l, nil
}

// shutDown closes all links and the socket, and waits until they are closed.
func (e *Endpoint) shutDown() {
	e.mu.Lock()
	e.stop()
	conns := make([]*engineConn, 0, len(e.links))
	for conn := range e.links {
		conns = append(conns, conn)
	}
	e.mu.Unlock()
	var closing sync.WaitGroup
	for _, conn := range conns {
		closing.Go(func() { _ = conn.CloseWithError(0, "the agent is stopping") })
	}
	closing.Wait()
	e.wrapped.Wait()
	_ = e.transport.Close() // waits until its reader has ended
	_ = e.socket.Close()
}

// Close closes the socket of an endpoint whose Run is never called.
func (e *Endpoint) Close() error {
	e.stop()
	return e.socket.Close()
}

// ready waits until Run has begun. It returns an error if Run has ended.
func (e *Endpoint) ready(ctx context.Context) error {
	if e.ctx.Err() != nil {
		return ErrNotRunning
	}
	select {
	case <-e.running:
		return nil
	case <-e.ctx.Done():
		return ErrNotRunning
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (e *Endpoint) readNonQUIC(ctx context.Context, b []byte) (int, net.Addr, error) {
	if err := e.ready(ctx); err != nil {
		return 0, nil, err
	}
	return e.transport.ReadNonQUICPacket(ctx, b)
}

func (e *Endpoint) writeNonQUIC(b []byte, to net.Addr) (int, error) {
	return e.socket.WriteTo(b, to)
}
