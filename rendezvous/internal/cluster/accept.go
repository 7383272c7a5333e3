package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/signal"
)

// accept takes links from other instances until ctx ends.
func (k *Cluster) accept(ctx context.Context, local Local) {
	var serving sync.WaitGroup
	defer serving.Wait()
	stop := context.AfterFunc(ctx, func() { k.listener.Close() })
	defer stop()
	for {
		conn, err := k.listener.Accept()
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			k.log.Warn("cannot accept a link from another instance", "reason", err)
			select {
			case <-ctx.Done():
			case <-time.After(renewEvery):
			}
			continue
		}
		serving.Go(func() {
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			if err := k.serve(ctx, tls.Server(conn, k.tls), local); err != nil && ctx.Err() == nil {
				k.log.Warn("a link from another instance ended", "remote", conn.RemoteAddr(), "reason", err)
			}
		})
	}
}

// serve hands what another instance forwards to the peers here.
func (k *Cluster) serve(ctx context.Context, conn *tls.Conn, local Local) error {
	conn.SetDeadline(time.Now().Add(dialWait))
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	m, err := readFrame(conn)
	if err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	h, ok := m.(hello)
	if !ok {
		return fmt.Errorf("%w: %T in place of a hello", errFrame, m)
	}
	if err := k.admit(ctx, h); err != nil {
		return err
	}
	conn.SetDeadline(time.Time{})
	out := newOutbox(conn)
	var writing sync.WaitGroup
	writing.Go(out.run)
	defer writing.Wait()
	defer out.close()
	defer conn.Close()
	for {
		conn.SetReadDeadline(time.Now().Add(silence))
		m, err := readFrame(conn)
		if err != nil {
			return err
		}
		if !k.isMember(h.name, h.own) {
			return fmt.Errorf("the lease of instance %s with epoch %d is over", h.name, h.own)
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
		case moved:
			for _, p := range m {
				local.Moved(p.Peer, p.Since)
			}
		default:
			return fmt.Errorf("%w: %T in place of a forward", errFrame, m)
		}
	}
}

// admit checks that a hello is meant for this process and comes from an instance
// with a lease. One that is newer than what was last read is asked for.
func (k *Cluster) admit(ctx context.Context, h hello) error {
	k.mu.Lock()
	first, last := k.first, k.epoch
	k.mu.Unlock()
	if h.wanted < first || h.wanted > last || first == 0 {
		return fmt.Errorf("instance %s looks for epoch %d, this is %d", h.name, h.wanted, last)
	}
	if k.holds(h) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	if err := k.readMembers(ctx); err != nil {
		return fmt.Errorf("ask for instance %s: %w", h.name, err)
	}
	if !k.holds(h) {
		return fmt.Errorf("instance %s has no lease with epoch %d", h.name, h.own)
	}
	return nil
}

// holds reports whether a hello comes from the lease that its instance has now.
func (k *Cluster) holds(h hello) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return h.own != 0 && k.members[h.name].Epoch == h.own
}
