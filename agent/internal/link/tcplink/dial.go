package tcplink

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

const (
	alpn = "easyfind-tcp/1"

	// handshakeTime bounds all between a connection and its place in a link.
	handshakeTime = 5 * time.Second
)

// DialError is why no link came to be.
type DialError struct {
	Mode   Mode
	Remote string // address and port
	Err    error
}

// Error names mode and address, and what failed.
func (e *DialError) Error() string {
	return fmt.Sprintf("%s to %s: %v", e.Mode, e.Remote, e.Err)
}

// Unwrap returns what failed.
func (e *DialError) Unwrap() error { return e.Err }

// Explain says in a person's words what is in the way.
func (e *DialError) Explain() string {
	timeout, isNet := errors.AsType[net.Error](e.Err)
	switch {
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		return "nobody listens at " + e.Remote
	case errors.Is(e.Err, syscall.ENETUNREACH) || errors.Is(e.Err, syscall.EHOSTUNREACH):
		return "this machine has no route to " + e.Remote
	case errors.Is(e.Err, ident.ErrUntrusted):
		return "at " + e.Remote + " somebody answers who is not this peer"
	case errors.Is(e.Err, context.DeadlineExceeded) || isNet && timeout.Timeout():
		return "TCP to " + e.Remote + " gets no answer: blocked by a firewall, or not reachable from here"
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
	trust := func(id ident.PeerID) error {
		if id != peer {
			return fmt.Errorf("wanted %s", peer.Short())
		}
		return nil
	}
	client, err := ident.MutualTLS(d.Key, alpn, trust)
	if err != nil {
		return nil, &DialError{mode, addr, err}
	}
	j := join{}
	if _, err := rand.Read(j.link[:]); err != nil {
		return nil, &DialError{mode, addr, fmt.Errorf("draw a link's number: %w", err)}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var halves [roles]*half
	var errs [roles]error
	var both sync.WaitGroup
	for r := range halves {
		both.Go(func() {
			end := dialEnd{mode: mode, key: d.Key, tls: client, trust: trust, join: join{role(r), j.link}}
			if halves[r], errs[r] = end.dial(ctx, addr); errs[r] != nil {
				cancel() // one alone is of no use
			}
		})
	}
	both.Wait()
	if err := first(errs[:]); err != nil {
		for _, h := range halves {
			if h != nil {
				_ = h.wire.Close()
			}
		}
		return nil, &DialError{mode, addr, err}
	}
	return newLink(mode, halves, peer, true), nil
}

// first is the error that explains most: what failed, not what was cancelled.
func first(errs []error) error {
	var found error
	for _, err := range errs {
		if err != nil && (found == nil || errors.Is(found, context.Canceled)) {
			found = err
		}
	}
	return found
}

// dialEnd is one connection that is being made.
type dialEnd struct {
	mode  Mode
	key   ident.Key
	tls   *tls.Config
	trust func(ident.PeerID) error
	join  join
}

func (e dialEnd) dial(ctx context.Context, addr string) (*half, error) {
	dialer := net.Dialer{Timeout: handshakeTime}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	tune(conn)
	w := &wire{Conn: conn}
	secure, err := e.handshake(ctx, w)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return newHalf(w, secure), nil
}

func (e dialEnd) handshake(ctx context.Context, w *wire) (net.Conn, error) {
	release, err := limit(ctx, w)
	if err != nil {
		return nil, err
	}
	var secure net.Conn
	if e.mode == Plain {
		secure, _, err = plainDial(w, e.key, e.trust)
	} else {
		t := tls.Client(w, e.tls)
		secure, err = t, t.HandshakeContext(ctx)
	}
	if err == nil {
		_, err = secure.Write(e.join.encode())
	}
	if ended := release(); ended != nil && err != nil {
		err = ended
	}
	return secure, err
}

// limit gives a connection handshakeTime, or less if ctx ends earlier. release
// lifts that, and returns ctx's error if it has ended.
func limit(ctx context.Context, w *wire) (release func() error, err error) {
	if err := w.SetDeadline(time.Now().Add(handshakeTime)); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = w.SetDeadline(time.Unix(1, 0)) })
	return func() error {
		if !stop() {
			return context.Cause(ctx)
		}
		return w.SetDeadline(time.Time{})
	}, nil
}
