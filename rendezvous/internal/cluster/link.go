package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Bounds of a link.
const (
	dialWait   = 3 * time.Second
	writeWait  = 5 * time.Second
	pingEvery  = time.Second
	silence    = 4 * time.Second  // without a frame from the other end
	resultWait = 12 * time.Second // for a result; the other end takes at most 8 s
	maxOut     = 4096             // frames queued to be written
	maxPending = 4096             // messages forwarded and not answered
)

// link carries this instance's messages to another one.
type link struct {
	// Static, out before ready is closed.
	out   *outbox       // nil if dialing failed
	ready chan struct{} // closed when out is set or dialing failed
	hasty bool          // nobody waits until it is ready: the attempt before has failed
	stop  context.CancelFunc

	// Guarded by mu.
	mu      sync.Mutex
	pending map[uint32]expected // nil once the link is down
	lastID  uint32
}

// expected is a message whose result is awaited.
type expected struct {
	since time.Time
	done  func(error)
}

// linkTo returns the link to an instance and dials it if there is none. It waits
// for that, unless the last attempt has failed: then whoever has a message hears
// so at once. Errors are signal.Failures.
func (k *Cluster) linkTo(ctx context.Context, instance string) (*link, error) {
	k.mu.Lock()
	member, known := k.members[instance]
	l := k.links[instance]
	switch {
	case k.closed, k.tls == nil, known && member.Address == "":
		k.mu.Unlock()
		return nil, signal.FailureUnavailable
	case !known: // its lease is over, and so is the peer's presence there
		k.mu.Unlock()
		return nil, signal.FailureOffline
	case l == nil && !k.unreachable[instance]:
		l = k.dialLocked(member)
	}
	k.mu.Unlock()
	if l == nil {
		return nil, signal.FailureUnavailable
	}
	if !l.hasty {
		select {
		case <-l.ready:
		case <-ctx.Done():
		}
	}
	select {
	case <-l.ready:
		if l.out != nil {
			return l, nil
		}
	default:
	}
	return nil, signal.FailureUnavailable
}

// dialLocked begins to dial an instance to which there is no link.
func (k *Cluster) dialLocked(member registry.Instance) *link {
	if k.closed || k.tls == nil || member.Address == "" {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &link{ready: make(chan struct{}), hasty: k.unreachable[member.Name], stop: cancel, pending: map[uint32]expected{}}
	k.links[member.Name] = l
	h := hello{wanted: member.Epoch, own: k.epoch, name: k.name}
	k.beside.Go(func() {
		defer cancel()
		conn, err := l.dial(ctx, member.Address, k.tls, h)
		k.reached(ctx, member.Name, err)
		if err == nil {
			if err = l.run(ctx, conn, k.clock); errors.Is(err, os.ErrDeadlineExceeded) {
				k.reached(ctx, member.Name, err) // silent: nobody need wait to find that out again
			}
		} else {
			l.fail()
			close(l.ready)
		}
		if ctx.Err() == nil && !l.hasty {
			k.log.Warn("no link to another instance", "instance", member.Name, "reason", err)
		}
		k.dropLink(member.Name, l)
	})
	return l
}

// reached notes whether an instance can be reached.
func (k *Cluster) reached(ctx context.Context, instance string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err == nil && k.unreachable[instance]:
		delete(k.unreachable, instance)
		k.log.Info("there is a link to another instance again", "instance", instance)
	case err != nil && ctx.Err() == nil:
		k.unreachable[instance] = true
	}
}

// run carries frames until the link ends.
func (l *link) run(ctx context.Context, conn net.Conn, now func() time.Time) error {
	l.out = newOutbox(conn)
	close(l.ready)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var beside sync.WaitGroup
	beside.Go(l.out.run)
	ended := make(chan struct{})
	beside.Go(func() { l.keep(ended, now) })
	err := l.read(conn)
	close(ended)
	conn.Close()
	l.out.close()
	l.fail()
	beside.Wait()
	return err
}

// keep pings, and gives up results that do not come, until the link ends.
func (l *link) keep(ended <-chan struct{}, now func() time.Time) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		l.out.put(ping{}.frame())
		var late []func(error)
		l.mu.Lock()
		for id, e := range l.pending {
			if now().Sub(e.since) > resultWait {
				late = append(late, e.done)
				delete(l.pending, id)
			}
		}
		l.mu.Unlock()
		for _, done := range late {
			done(signal.FailureUnconfirmed)
		}
	}
}

func (l *link) dial(ctx context.Context, address string, config *tls.Config, h hello) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	// A ping and its answer show that the other end has let this one in.
	conn.SetDeadline(time.Now().Add(dialWait))
	if _, err := conn.Write(append(h.frame(), ping{}.frame()...)); err != nil {
		conn.Close()
		return nil, fmt.Errorf("greet %s: %w", address, err)
	}
	if m, err := readFrame(conn); err != nil || m != (pong{}) {
		conn.Close()
		return nil, fmt.Errorf("greeting of %s: %T, %w", address, m, err)
	}
	conn.SetDeadline(time.Time{})
	return conn, nil
}

// Reach reports whether an instance takes links at an address with the key of
// the cluster.
func Reach(ctx context.Context, address string, key ident.Key) error {
	config, err := mutual(key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("dial %s: %w", address, err)
	}
	return conn.Close()
}

// read hands results to those who wait for them, until the link ends.
func (l *link) read(conn net.Conn) error {
	for {
		conn.SetReadDeadline(time.Now().Add(silence))
		m, err := readFrame(conn)
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case pong:
		case result:
			if done := l.take(m.id); done != nil && m.code == 0 {
				done(nil)
			} else if done != nil {
				done(m.code)
			}
		default:
			return fmt.Errorf("%w: %T in place of a result", errFrame, m)
		}
	}
}

// forward sends a message. It returns a signal.Failure if it has not been sent;
// otherwise done is called once, with nil or a signal.Failure.
func (l *link) forward(f forward, now time.Time, done func(error)) error {
	l.mu.Lock()
	switch {
	case l.pending == nil:
		l.mu.Unlock()
		return signal.FailureUnavailable
	case len(l.pending) >= maxPending:
		l.mu.Unlock()
		return signal.FailureBusy
	}
	l.lastID++
	f.id = l.lastID
	l.pending[f.id] = expected{now, done}
	// Under the lock: messages must not overtake each other.
	sent := l.out.put(f.frame())
	if !sent {
		delete(l.pending, f.id)
	}
	l.mu.Unlock()
	if !sent {
		return signal.FailureUnavailable
	}
	return nil
}

// take returns who waits for a result, nil if nobody does.
func (l *link) take(id uint32) func(error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	done := l.pending[id].done
	delete(l.pending, id)
	return done
}

// fail tells everyone who waits for a result that none will come.
func (l *link) fail() {
	l.mu.Lock()
	pending := l.pending
	l.pending = nil
	l.mu.Unlock()
	for _, e := range pending {
		e.done(signal.FailureUnconfirmed)
	}
}

// dropLink takes a link that has ended off the list.
func (k *Cluster) dropLink(instance string, l *link) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.links[instance] == l {
		delete(k.links, instance)
	}
}

// closeLinks ends all links that this instance has dialed, and lets nothing more
// begin.
func (k *Cluster) closeLinks() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	for _, l := range k.links {
		l.stop()
	}
}
