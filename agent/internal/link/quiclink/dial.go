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

// DialError is why no link came to be.
type DialError struct {
	Remote string // address and port
	Err    error
}

// Error names the address and the engine's reason.
func (e *DialError) Error() string { return fmt.Sprintf("QUIC to %s: %v", e.Remote, e.Err) }

// Unwrap returns the engine's reason.
func (e *DialError) Unwrap() error { return e.Err }

// Explain says in a person's words what is in the way.
func (e *DialError) Explain() string {
	_, idle := errors.AsType[*idleTimeout](e.Err)
	_, slow := errors.AsType[*handshakeTimeout](e.Err)
	refused, isTransport := errors.AsType[*transportError](e.Err)
	switch {
	case idle || slow || errors.Is(e.Err, context.DeadlineExceeded):
		return "UDP to " + e.Remote + " gets no answer: blocked on this network, or on the other end's"
	case errors.Is(e.Err, syscall.ENETUNREACH) || errors.Is(e.Err, syscall.EHOSTUNREACH):
		return "this machine has no route to " + e.Remote
	case errors.Is(e.Err, ident.ErrUntrusted):
		return "at " + e.Remote + " somebody answers who is not this peer"
	case isTransport && refused.Remote:
		return e.Remote + " refused the connection"
	}
	return e.Err.Error()
}

// exactly is the trust of one who wants one peer only.
func exactly(peer ident.PeerID) func(ident.PeerID) error {
	return func(id ident.PeerID) error {
		if id != peer {
			return fmt.Errorf("wanted %s", peer.Short())
		}
		return nil
	}
}

// Dial makes a link to a peer at an address. It waits for Run to begin. Empty
// addresses in path are filled in. Its errors are [*DialError] or those of ctx.
func (e *Endpoint) Dial(ctx context.Context, addr *net.UDPAddr, peer ident.PeerID, path link.Path) (link.Link, error) {
	if err := e.ready(ctx); err != nil {
		return nil, &DialError{addr.String(), err}
	}
	if err := routed(addr); err != nil {
		return nil, &DialError{addr.String(), err}
	}
	l, err := e.dial(ctx, e.transport, addr, peer, path)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// routed asks the kernel whether it knows a way to an address, which takes no
// packet: a dial without one would only show as silence.
func routed(addr *net.UDPAddr) error {
	probe, err := net.DialUDP("udp", nil, addr)
	if err != nil {
		return err
	}
	return probe.Close()
}

func (e *Endpoint) dial(ctx context.Context, t *engineTransport, addr net.Addr, peer ident.PeerID, path link.Path) (*quicLink, error) {
	client, err := ident.MutualTLS(e.cfg.Key, alpn, exactly(peer))
	if err != nil {
		return nil, &DialError{addr.String(), err}
	}
	conn, err := t.Dial(ctx, addr, client, config(t != e.transport))
	if err != nil {
		return nil, &DialError{addr.String(), err}
	}
	return e.adoptOrClose(conn, true, path)
}

// adoptOrClose makes a link or closes the connection.
func (e *Endpoint) adoptOrClose(conn *engineConn, dialed bool, path link.Path) (*quicLink, error) {
	l, err := e.adopt(conn, dialed, path)
	if err != nil {
		_ = conn.CloseWithError(0, "not wanted any more")
		return nil, &DialError{conn.RemoteAddr().String(), err}
	}
	return l, nil
}

// DialOver makes a link to a peer over a packet connection, as that of a
// relay, on which remote is the peer's address. The connection is the link's
// from the call on: it is closed when the link ends, or none comes to be.
func (e *Endpoint) DialOver(ctx context.Context, conn net.PacketConn, remote net.Addr, peer ident.PeerID, path link.Path) (link.Link, error) {
	return e.wrap(ctx, conn, func(ctx context.Context, t *engineTransport) (*quicLink, error) {
		return e.dial(ctx, t, remote, peer, path)
	})
}

// ListenOver is the other end of DialOver: it waits until the peer at remote
// has dialed, or ctx ends.
func (e *Endpoint) ListenOver(ctx context.Context, conn net.PacketConn, remote net.Addr, peer ident.PeerID, path link.Path) (link.Link, error) {
	return e.wrap(ctx, conn, func(ctx context.Context, t *engineTransport) (*quicLink, error) {
		serve, err := ident.MutualTLS(e.cfg.Key, alpn, exactly(peer))
		if err != nil {
			return nil, &DialError{remote.String(), err}
		}
		listener, err := t.Listen(serve, config(true))
		if err != nil {
			return nil, &DialError{remote.String(), err}
		}
		accepted, err := listener.Accept(ctx)
		_ = listener.Close() // one is enough
		if err != nil {
			return nil, &DialError{remote.String(), err}
		}
		return e.adoptOrClose(accepted, false, path)
	})
}

// wrap makes one link with a transport of its own, which ends with the link.
func (e *Endpoint) wrap(ctx context.Context, conn net.PacketConn, connect func(context.Context, *engineTransport) (*quicLink, error)) (link.Link, error) {
	w := &wrapped{PacketConn: conn}
	if !e.begin() {
		_ = w.Close()
		return nil, &DialError{conn.LocalAddr().String(), ErrNotRunning}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.life, cancel)()
	t := &engineTransport{Conn: w, ConnectionIDGenerator: connectionIDs{}}
	end := func() {
		defer e.ends.Done()
		_ = t.Close() // wakes its reader by closing w
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

// begin counts a wrapped transport, for shutDown to wait for.
func (e *Endpoint) begin() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.life.Err() != nil {
		return false
	}
	e.ends.Add(1)
	return true
}
