package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/signal"
)

// acceptRetryInterval is the time until the next attempt after a failed Accept.
const acceptRetryInterval = time.Second

// acceptor serves links from other instances.
type acceptor struct {
	listener net.Listener // nil if there are no links
	tls      *tls.Config
	lease    *lease
	members  *members
	log      *slog.Logger
}

// run accepts links until ctx ends.
func (a *acceptor) run(ctx context.Context, local Local) {
	var serving sync.WaitGroup
	defer serving.Wait()
	stop := context.AfterFunc(ctx, func() { a.listener.Close() })
	defer stop()
	for {
		conn, err := a.listener.Accept()
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			a.log.Warn("cannot accept a link from another instance", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(acceptRetryInterval):
			}
			continue
		}
		serving.Go(func() {
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			if err := a.serve(ctx, tls.Server(conn, a.tls), local); err != nil && ctx.Err() == nil {
				a.log.Warn("a link from another instance ended", "remote_addr", conn.RemoteAddr(), "err", err)
			}
		})
	}
}

// serve delivers the messages of another instance to the peers here.
func (a *acceptor) serve(ctx context.Context, conn *tls.Conn, local Local) error {
	h, err := a.greet(ctx, conn)
	if err != nil {
		return err
	}
	out := newOutbox(conn)
	var writing sync.WaitGroup
	writing.Go(out.run)
	defer writing.Wait()
	defer out.close()
	defer conn.Close()
	for {
		conn.SetReadDeadline(time.Now().Add(silenceTimeout))
		m, err := readFrame(conn)
		if err != nil {
			return err
		}
		if !a.members.reached(h.name, h.own) {
			return fmt.Errorf("the lease of instance %s with epoch %d has ended", h.name, h.own)
		}
		switch m := m.(type) {
		case ping:
			out.put(pong{}.frame())
		case forward:
			local.Deliver(m.from, m.to, m.body, func(err error) {
				var code signal.Failure
				if err != nil && !errors.As(err, &code) {
					code = signal.FailureUnavailable
				}
				out.put(result{id: m.id, code: code}.frame())
			})
		case moves:
			for _, p := range m {
				local.Moved(p.Peer, p.Since)
			}
		default:
			return fmt.Errorf("%w: %T in place of a forward", errFrame, m)
		}
	}
}

// greet performs the TLS handshake and checks the hello.
func (a *acceptor) greet(ctx context.Context, conn *tls.Conn) (hello, error) {
	conn.SetDeadline(time.Now().Add(dialTimeout))
	if err := conn.HandshakeContext(ctx); err != nil {
		return hello{}, fmt.Errorf("TLS handshake: %w", err)
	}
	m, err := readFrame(conn)
	if err != nil {
		return hello{}, fmt.Errorf("read hello: %w", err)
	}
	h, ok := m.(hello)
	if !ok {
		return hello{}, fmt.Errorf("%w: %T in place of a hello", errFrame, m)
	}
	if err := a.check(ctx, h); err != nil {
		return hello{}, err
	}
	conn.SetDeadline(time.Time{})
	return h, nil
}

// check returns nil if a hello is meant for this process and comes from an
// instance with a lease. If the lease is not known, it reads the list of members.
func (a *acceptor) check(ctx context.Context, h hello) error {
	if !a.lease.had(h.wanted) {
		own, _ := a.lease.holder()
		return fmt.Errorf("instance %s looks for epoch %d, but this is %d", h.name, h.wanted, own.Epoch)
	}
	if a.members.current(h.name, h.own) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := a.members.read(ctx); err != nil {
		return fmt.Errorf("look up instance %s: %w", h.name, err)
	}
	if !a.members.current(h.name, h.own) {
		return fmt.Errorf("instance %s has no lease with epoch %d", h.name, h.own)
	}
	return nil
}
