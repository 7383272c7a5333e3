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

// Handshakes from addresses that have proved nothing: above this rate an
// address must first show that it receives what is sent to it (RFC 9000
// section 8.1.2), which costs it a round trip and us no state.
const (
	freeHandshakes      = 20 // a second
	freeHandshakesBurst = 40
)

// Config is what [NewEndpoint] needs.
type Config struct {
	Key ident.Key
	// Conn is the socket to use; the endpoint owns it from then on. If it is
	// nil, Listen is the UDP address to listen on, by default ":0".
	Conn   *net.UDPConn
	Listen string
	// Trust says whether a peer may connect; nil accepts. It is required, and
	// is asked by several goroutines at once.
	Trust func(ident.PeerID) error
	// Accept takes over each link that a trusted peer has dialed. It must not
	// block. Required.
	Accept func(link.Link)
	// PathOf describes the path of an accepted link: its rank, above all. By
	// default links rank as direct.
	PathOf func(peer ident.PeerID, remote net.Addr) link.Path
	Logger *slog.Logger // nothing by default
}

// Endpoint dials and accepts links on one UDP socket; see the package comment.
type Endpoint struct {
	// Static after construction.
	cfg       Config
	socket    *socket
	transport *engineTransport
	serve     *tls.Config

	running chan struct{}   // closed when Run has begun
	life    context.Context // ends when Run begins to end
	die     context.CancelFunc

	mu    sync.Mutex               // also held while life ends
	links map[*engineConn]struct{} // guarded by mu: connections that are up
	ends  sync.WaitGroup           // of wrapped transports; added to under mu, before life ends
}

// ErrNotRunning is the error of an endpoint whose Run has ended.
var ErrNotRunning = errors.New("the QUIC endpoint has been stopped")

// NewEndpoint opens the socket. Run must follow, or Close.
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
	life, die := context.WithCancel(context.Background())
	return &Endpoint{
		cfg: cfg, socket: s, serve: serve, life: life, die: die,
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

// LocalAddr is the socket's address, a *net.UDPAddr.
func (e *Endpoint) LocalAddr() net.Addr { return e.socket.LocalAddr() }

// Run accepts links until ctx ends. Then it closes every link, the wrapped
// ones too, and the socket. It is called once.
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
	e.cfg.Logger.Debug("QUIC connection refused", "from", conn.RemoteAddr(), "error", err)
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
	if e.life.Err() != nil {
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

// shutDown ends what the endpoint made, and waits for it.
func (e *Endpoint) shutDown() {
	e.mu.Lock()
	e.die()
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
	e.ends.Wait()
	_ = e.transport.Close() // waits for its reader
	_ = e.socket.Close()
}

// Close lets go of the socket of an endpoint whose Run is never called.
func (e *Endpoint) Close() error {
	e.die()
	return e.socket.Close()
}

// ready waits for Run.
func (e *Endpoint) ready(ctx context.Context) error {
	if e.life.Err() != nil {
		return ErrNotRunning
	}
	select {
	case <-e.running:
		return nil
	case <-e.life.Done():
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
