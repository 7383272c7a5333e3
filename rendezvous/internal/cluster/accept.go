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
		m, err := readFrame(conn)
		if err != nil {
			return err
		}
		f, ok := m.(forward)
		if !ok {
			return fmt.Errorf("%w: %T in place of a forward", errFrame, m)
		}
		if !k.isMember(h) {
			return fmt.Errorf("the lease of instance %s with epoch %d is over", h.name, h.own)
		}
		local.Deliver(f.from, f.to, f.body, func(err error) {
			var code signal.Failure
			if err != nil && !errors.As(err, &code) {
				code = signal.FailureUnavailable
			}
			out.put(result{id: f.id, code: code}.frame())
		})
	}
}

// admit checks that a hello is meant for this lease and comes from one that is
// held. One that is newer than what was last read is asked for.
func (k *Cluster) admit(ctx context.Context, h hello) error {
	if own, _ := k.holder(); h.wanted != own.Epoch {
		return fmt.Errorf("instance %s looks for epoch %d, this is %d", h.name, h.wanted, own.Epoch)
	}
	if k.isMember(h) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	list, err := k.store.Instances(ctx, k.now())
	if err != nil {
		return fmt.Errorf("ask for instance %s: %w", h.name, err)
	}
	k.setMembers(list)
	if !k.isMember(h) {
		return fmt.Errorf("instance %s has no lease with epoch %d", h.name, h.own)
	}
	return nil
}

func (k *Cluster) isMember(h hello) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.members[h.name].Epoch == h.own && h.own != 0
}
