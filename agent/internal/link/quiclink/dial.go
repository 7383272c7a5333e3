package quiclink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// DialError is the error of a dial that made no link.
type DialError struct {
	Remote string // address and port
	Err    error
}

// Error returns the address and the cause.
func (e *DialError) Error() string { return fmt.Sprintf("QUIC to %s: %v", e.Remote, e.Err) }

// Unwrap returns the cause.
func (e *DialError) Unwrap() error { return e.Err }

// Explain returns a sentence for people about what prevents the link.
func (e *DialError) Explain() string {
	_, idle := errors.AsType[*idleTimeoutError](e.Err)
	_, slow := errors.AsType[*handshakeTimeoutError](e.Err)
	refused, isTransport := errors.AsType[*transportError](e.Err)
	switch {
	case idle || slow || errors.Is(e.Err, context.DeadlineExceeded):
		return "UDP to " + e.Remote + " gets no answer: blocked on this network or on the peer's network"
	case errors.Is(e.Err, syscall.ENETUNREACH) || errors.Is(e.Err, syscall.EHOSTUNREACH):
		return "this machine has no route to " + e.Remote
	case errors.Is(e.Err, ident.ErrUntrusted):
		return "another peer than the expected one answers at " + e.Remote
	case isTransport && refused.Remote:
		return e.Remote + " refused the connection"
	}
	return e.Err.Error()
}

// onlyPeer returns a trust function that accepts one peer.
func onlyPeer(peer ident.PeerID) func(ident.PeerID) error {
	return func(id ident.PeerID) error {
		if id != peer {
			return fmt.Errorf("expected %s", peer.Short())
		}
		return nil
	}
}

// Dial makes a link to a peer at an address. It waits until Run has begun. It
// fills in empty addresses in path. Its errors are [*DialError] or those of ctx.
func (e *Endpoint) Dial(
	ctx context.Context, addr *net.UDPAddr, peer ident.PeerID, path link.Path,
) (link.Link, error) {
	if err := e.ready(ctx); err != nil {
		return nil, &DialError{addr.String(), err}
	}
	if err := checkRoute(addr); err != nil {
		return nil, &DialError{addr.String(), err}
	}
	l, err := e.dial(ctx, e.transport, addr, peer, path)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// checkRoute returns an error if the kernel has no route to an address. It sends
// no packet. Without it a dial to such an address would fail only at its timeout.
func checkRoute(addr *net.UDPAddr) error {
	conn, err := net.DialUDP("udp", nil, addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

func (e *Endpoint) dial(
	ctx context.Context, t *engineTransport, addr net.Addr, peer ident.PeerID, path link.Path,
) (*quicLink, error) {
	client, err := ident.MutualTLS(e.cfg.Key, alpn, onlyPeer(peer))
	if err != nil {
		return nil, &DialError{addr.String(), err}
	}
	conn, err := t.Dial(ctx, addr, client, config(t != e.transport))
	if err != nil {
		return nil, &DialError{addr.String(), err}
	}
	return e.adoptOrClose(conn, true, path)
}

// adoptOrClose makes a link from a connection, or closes it on an error.
func (e *Endpoint) adoptOrClose(conn *engineConn, dialed bool, path link.Path) (*quicLink, error) {
	l, err := e.adopt(conn, dialed, path)
	if err != nil {
		_ = conn.CloseWithError(0, "not needed")
		return nil, &DialError{conn.RemoteAddr().String(), err}
	}
	return l, nil
}

// DialOver makes a link to a peer over a packet connection, such as that of a
// relay. remote is the peer's address on it. DialOver takes over the connection:
// it is closed when the link ends or cannot be made.
func (e *Endpoint) DialOver(
	ctx context.Context, conn net.PacketConn, remote net.Addr, peer ident.PeerID, path link.Path,
) (link.Link, error) {
	return e.wrap(ctx, conn, func(ctx context.Context, t *engineTransport) (*quicLink, error) {
		return e.dial(ctx, t, remote, peer, path)
	})
}

// ListenOver accepts a link over a packet connection, which it takes over like
// DialOver. It waits until the peer at remote has dialed or ctx ends.
func (e *Endpoint) ListenOver(
	ctx context.Context, conn net.PacketConn, remote net.Addr, peer ident.PeerID, path link.Path,
) (link.Link, error) {
	return e.wrap(ctx, conn, func(ctx context.Context, t *engineTransport) (*quicLink, error) {
		serve, err := ident.MutualTLS(e.cfg.Key, alpn, onlyPeer(peer))
		if err != nil {
			return nil, &DialError{remote.String(), err}
		}
		listener, err := t.Listen(serve, config(true))
		if err != nil {
			return nil, &DialError{remote.String(), err}
		}
		accepted, err := listener.Accept(ctx)
		_ = listener.Close() // one link per packet connection
		if err != nil {
			return nil, &DialError{remote.String(), err}
		}
		return e.adoptOrClose(accepted, false, path)
	})
}

// wrap makes one link over a packet connection. connect makes it on a transport
// that ends with the link.
func (e *Endpoint) wrap(
	ctx context.Context, conn net.PacketConn, connect func(context.Context, *engineTransport) (*quicLink, error),
) (link.Link, error) {
	w := &wrappedConn{PacketConn: conn}
	if !e.addWrapped() {
		_ = w.Close()
		return nil, &DialError{conn.LocalAddr().String(), ErrNotRunning}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()
	t := &engineTransport{Conn: w, ConnectionIDGenerator: connectionIDs{}}
	end := func() {
		defer e.wrapped.Done()
		_ = t.Close() // ends its reader by closing w
		_ = w.Close()
	}
	l, err := connect(ctx, t)
	if err != nil {
		end()
		return nil, err
	}
	context.AfterFunc(l.conn.Context(), end)
	return l, nil
}

// addWrapped counts a wrapped packet connection, so that shutDown waits for it. It
// returns false after the end of Run.
func (e *Endpoint) addWrapped() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		return false
	}
	e.wrapped.Add(1)
	return true
}
