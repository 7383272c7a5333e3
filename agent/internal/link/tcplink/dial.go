package tcplink

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// handshakeTimeout bounds the time between the beginning of a connection and
// its place in a link.
const handshakeTimeout = 5 * time.Second

// DialError is the error of a Dial that made no link.
type DialError struct {
	Mode   Mode
	Remote string // address and port
	Err    error
}

// Error returns mode, address and cause.
func (e *DialError) Error() string {
	return fmt.Sprintf("%s to %s: %v", e.Mode, e.Remote, e.Err)
}

// Unwrap returns the cause.
func (e *DialError) Unwrap() error { return e.Err }

// Explain returns a sentence for people about what prevents the link.
func (e *DialError) Explain() string {
	timeout, isNet := errors.AsType[net.Error](e.Err)
	switch {
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		return "nobody listens at " + e.Remote
	case errors.Is(e.Err, syscall.ENETUNREACH) || errors.Is(e.Err, syscall.EHOSTUNREACH):
		return "this machine has no route to " + e.Remote
	case errors.Is(e.Err, ident.ErrUntrusted):
		return "another peer than the expected one answers at " + e.Remote
	case errors.Is(e.Err, context.DeadlineExceeded) || isNet && timeout.Timeout():
		return "TCP to " + e.Remote + " gets no answer: a firewall blocks it, or the address is not reachable from here"
	case e.Mode == Plain && (errors.Is(e.Err, io.EOF) || errors.Is(e.Err, syscall.ECONNRESET)):
		return e.Remote + " closed the connection during the handshake: " +
			"if the peer runs an older version of EasyFind, update it"
	}
	return e.Err.Error()
}

// Dialer dials links.
type Dialer struct {
	Key ident.Key
}

// Dial makes a link to a peer at an address ("host:port"). Its errors are
// [*DialError].
func (d Dialer) Dial(ctx context.Context, mode Mode, addr string, peer ident.PeerID) (link.Link, error) {
	s, err := newSecurity(mode, sideDialer, d.Key, func(id ident.PeerID) error {
		if id != peer {
			return fmt.Errorf("expected %s", peer.Short())
		}
		return nil
	})
	if err != nil {
		return nil, &DialError{mode, addr, err}
	}
	number, err := newLinkNumber()
	if err != nil {
		return nil, &DialError{mode, addr, err}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var halves [roles]*half
	var errs [roles]error
	var both sync.WaitGroup
	for r := range halves {
		both.Go(func() {
			if halves[r], errs[r] = dialHalf(ctx, s, addr, join{role(r), number}); errs[r] != nil {
				cancel() // a link needs both
			}
		})
	}
	both.Wait()
	if err := firstCause(errs[:]); err != nil {
		for _, h := range halves {
			if h != nil {
				_ = h.raw.Close()
			}
		}
		return nil, &DialError{mode, addr, err}
	}
	return newLink(mode, halves, peer, true), nil
}

func newLinkNumber() ([16]byte, error) {
	var number [16]byte
	if _, err := rand.Read(number[:]); err != nil {
		return number, fmt.Errorf("draw a random link number: %w", err)
	}
	return number, nil
}

// firstCause returns the first error, and one that is not a cancellation if
// there is any.
func firstCause(errs []error) error {
	var found error
	for _, err := range errs {
		if err != nil && (found == nil || errors.Is(found, context.Canceled)) {
			found = err
		}
	}
	return found
}

// dialHalf makes one of a link's two connections.
func dialHalf(ctx context.Context, s *security, addr string, j join) (*half, error) {
	dialer := net.Dialer{Timeout: handshakeTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	tune(conn)
	h, err := joinHalf(ctx, s, &rawConn{Conn: conn}, j)
	if err != nil {
		_ = conn.Close()
	}
	return h, err
}

// joinHalf authenticates the peer and sends the join message.
func joinHalf(ctx context.Context, s *security, raw *rawConn, j join) (*half, error) {
	release, err := limitHandshake(ctx, raw)
	if err != nil {
		return nil, err
	}
	secure, _, err := s.secure(ctx, raw)
	if err == nil {
		_, err = secure.Write(j.encode())
	}
	if ended := release(); ended != nil && err != nil {
		err = ended
	}
	if err != nil {
		return nil, err
	}
	return newHalf(raw, secure), nil
}

// limitHandshake makes reads and writes fail after handshakeTimeout, or when
// ctx ends. release removes the limit and returns the error of ctx if it has
// ended.
func limitHandshake(ctx context.Context, raw *rawConn) (release func() error, err error) {
	if err := raw.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	return func() error {
		if !stop() {
			return context.Cause(ctx)
		}
		return raw.SetDeadline(time.Time{})
	}, nil
}
