package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// Bounds of a link.
const (
	dialTimeout    = 3 * time.Second
	writeTimeout   = 5 * time.Second
	pingInterval   = time.Second
	silenceTimeout = 4 * time.Second  // without a frame from the other end
	resultTimeout  = 12 * time.Second // for a result; the other end takes at most 8 s
	maxOut         = 4096             // frames that wait to be written
	maxPending     = 4096             // messages without a result
)

// link carries this instance's messages to another one.
type link struct {
	// Static; out only once ready is closed.
	out   *outbox       // nil if dialing failed
	ready chan struct{} // closed when out is set or dialing failed
	retry bool          // the attempt before failed, so nothing waits for ready
	stop  context.CancelFunc

	// Guarded by mu.
	mu      sync.Mutex
	pending map[uint32]pendingMessage // by ID; nil once the link is down
	lastID  uint32
}

// pendingMessage is a message whose result has not arrived.
type pendingMessage struct {
	since time.Time
	done  func(error)
}

// dial connects to an instance and waits until it has accepted the hello.
func dial(ctx context.Context, address string, config *tls.Config, h hello) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	// The other end answers the ping only after it has accepted the hello.
	conn.SetDeadline(time.Now().Add(dialTimeout))
	if _, err := conn.Write(append(h.frame(), ping{}.frame()...)); err != nil {
		conn.Close()
		return nil, fmt.Errorf("send hello to %s: %w", address, err)
	}
	if m, err := readFrame(conn); err != nil || m != (pong{}) {
		conn.Close()
		return nil, fmt.Errorf("answer of %s to hello: %T, %w", address, m, err)
	}
	conn.SetDeadline(time.Time{})
	return conn, nil
}

// Reach returns nil if an instance with the key of the cluster accepts links at
// an address.
func Reach(ctx context.Context, address string, key ident.Key) error {
	config, err := mutualTLS(key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("dial %s: %w", address, err)
	}
	return conn.Close()
}

// run carries frames until the link ends.
func (l *link) run(ctx context.Context, conn net.Conn, now func() time.Time) error {
	l.out = newOutbox(conn)
	close(l.ready)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var running sync.WaitGroup
	running.Go(l.out.run)
	ended := make(chan struct{})
	running.Go(func() { l.keepAlive(ended, now) })
	err := l.read(conn)
	close(ended)
	conn.Close()
	l.out.close()
	l.fail()
	running.Wait()
	return err
}

// keepAlive sends pings, and ends the wait for results that are overdue, until
// the link ends.
func (l *link) keepAlive(ended <-chan struct{}, now func() time.Time) {
	tick := time.NewTicker(pingInterval)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		l.out.put(ping{}.frame())
		for _, done := range l.takeOverdue(now()) {
			done(signal.FailureUnconfirmed)
		}
	}
}

// takeOverdue removes the messages whose result is overdue.
func (l *link) takeOverdue(now time.Time) []func(error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var overdue []func(error)
	for id, m := range l.pending {
		if now.Sub(m.since) > resultTimeout {
			overdue = append(overdue, m.done)
			delete(l.pending, id)
		}
	}
	return overdue
}

// read passes results to the messages that wait for them, until the link ends.
func (l *link) read(conn net.Conn) error {
	for {
		conn.SetReadDeadline(time.Now().Add(silenceTimeout))
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

// forward sends a message. It returns a signal.Failure if the message was not
// sent; otherwise it calls done once, with nil or a signal.Failure.
func (l *link) forward(f forward, now time.Time, done func(error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.pending == nil:
		return signal.FailureUnavailable
	case len(l.pending) >= maxPending:
		return signal.FailureBusy
	}
	l.lastID++
	f.id = l.lastID
	l.pending[f.id] = pendingMessage{now, done}
	// The frame is queued under the lock, so that messages keep their order.
	if !l.out.put(f.frame()) {
		delete(l.pending, f.id)
		return signal.FailureUnavailable
	}
	return nil
}

// take removes a pending message and returns its callback, or nil if there is no
// such message.
func (l *link) take(id uint32) func(error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	done := l.pending[id].done
	delete(l.pending, id)
	return done
}

// fail reports all pending messages as unconfirmed. No message can be sent
// afterwards.
func (l *link) fail() {
	l.mu.Lock()
	pending := l.pending
	l.pending = nil
	l.mu.Unlock()
	for _, m := range pending {
		m.done(signal.FailureUnconfirmed)
	}
}
