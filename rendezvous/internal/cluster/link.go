package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Bounds of a link.
const (
	dialWait   = 3 * time.Second
	writeWait  = 5 * time.Second
	maxOut     = 1024 // frames queued to be written
	maxPending = 4096 // messages forwarded and not answered
)

// link carries this instance's messages to another one.
type link struct {
	// Static.
	epoch int64 // of the instance at the other end
	out   *outbox
	ready chan struct{} // closed when out is set or dialing failed
	stop  context.CancelFunc

	// Guarded by mu.
	mu      sync.Mutex
	pending map[uint32]chan signal.Failure // nil once the link is down
	lastID  uint32
}

// forwardTo sends a message to the instance of a location and waits for its
// result. Errors are signal.Failures.
func (k *Cluster) forwardTo(ctx context.Context, at registry.Location, f forward) error {
	l, err := k.linkTo(at)
	if err != nil {
		return err
	}
	select {
	case <-l.ready:
	case <-ctx.Done():
		return signal.FailureUnavailable
	}
	id, answer, err := l.expect()
	if err != nil {
		return err
	}
	defer l.forget(id)
	f.id = id
	if !l.out.put(f.frame()) {
		return signal.FailureUnavailable
	}
	select {
	case code := <-answer:
		if code != 0 {
			return code
		}
		return nil
	case <-ctx.Done():
		// The other end answers sooner than that, if it is there.
		k.dropLink(at.Instance, l)
		return signal.FailureUnconfirmed
	}
}

// linkTo returns the link to an instance, and begins to dial it if there is
// none.
func (k *Cluster) linkTo(at registry.Location) (*link, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	member, known := k.members[at.Instance]
	switch {
	case k.closed, k.tls == nil, known && member.Address == "":
		return nil, signal.FailureUnavailable
	case !known || member.Epoch != at.Epoch:
		return nil, signal.FailureOffline // its lease is over, and so is the peer's presence there
	}
	if l := k.links[at.Instance]; l != nil {
		return l, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &link{
		epoch: member.Epoch, ready: make(chan struct{}), stop: cancel,
		pending: map[uint32]chan signal.Failure{},
	}
	k.links[at.Instance] = l
	h := hello{wanted: member.Epoch, own: k.epoch, name: k.name}
	k.dialing.Go(func() {
		if err := l.run(ctx, member.Address, k.tls, h); err != nil && ctx.Err() == nil {
			k.log.Warn("no link to another instance", "instance", at.Instance, "reason", err)
		}
		k.dropLink(at.Instance, l)
	})
	return l, nil
}

// run dials and reads results until the link ends.
func (l *link) run(ctx context.Context, address string, config *tls.Config, h hello) error {
	conn, err := l.dial(ctx, address, config, h)
	if err != nil {
		l.down()
		close(l.ready)
		return err
	}
	l.out = newOutbox(conn)
	close(l.ready)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var writing sync.WaitGroup
	writing.Go(l.out.run)
	err = l.read(conn)
	conn.Close()
	l.out.close()
	l.down()
	writing.Wait()
	return err
}

func (l *link) dial(ctx context.Context, address string, config *tls.Config, h hello) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	conn.SetWriteDeadline(time.Now().Add(writeWait))
	if _, err := conn.Write(h.frame()); err != nil {
		conn.Close()
		return nil, fmt.Errorf("greet %s: %w", address, err)
	}
	return conn, nil
}

// read hands results to those who wait for them.
func (l *link) read(conn net.Conn) error {
	for {
		m, err := readFrame(conn)
		if err != nil {
			return err
		}
		r, ok := m.(result)
		if !ok {
			return fmt.Errorf("%w: %T in place of a result", errFrame, m)
		}
		l.mu.Lock()
		if answer, ok := l.pending[r.id]; ok {
			answer <- r.code
			delete(l.pending, r.id)
		}
		l.mu.Unlock()
	}
}

// expect returns the number of a new message and where its result will come.
func (l *link) expect() (uint32, <-chan signal.Failure, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending == nil {
		return 0, nil, signal.FailureUnavailable
	}
	if len(l.pending) >= maxPending {
		return 0, nil, signal.FailureBusy
	}
	answer := make(chan signal.Failure, 1)
	l.lastID++
	l.pending[l.lastID] = answer
	return l.lastID, answer, nil
}

func (l *link) forget(id uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pending, id)
}

// down tells everyone who waits for a result that none will come.
func (l *link) down() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, answer := range l.pending {
		answer <- signal.FailureUnconfirmed
	}
	l.pending = nil
}

func (l *link) close() { l.stop() }

// dropLink ends a link and takes it off the list.
func (k *Cluster) dropLink(instance string, l *link) {
	l.close()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.links[instance] == l {
		delete(k.links, instance)
	}
}

// closeLinks ends all links that this instance has dialed, and lets it dial no
// more.
func (k *Cluster) closeLinks() {
	k.mu.Lock()
	k.closed = true
	for _, l := range k.links {
		l.close()
	}
	k.mu.Unlock()
	k.dialing.Wait()
}

// outbox writes frames in the background.
type outbox struct {
	conn   net.Conn
	frames chan []byte
	ended  chan struct{}
	once   sync.Once
}

func newOutbox(conn net.Conn) *outbox {
	return &outbox{conn: conn, frames: make(chan []byte, maxOut), ended: make(chan struct{})}
}

// put queues a frame. It reports false, and the connection ends, if the other
// side does not keep up.
func (o *outbox) put(frame []byte) bool {
	select {
	case <-o.ended:
		return false
	case o.frames <- frame:
		return true
	default:
		o.conn.Close()
		return false
	}
}

// run writes until close.
func (o *outbox) run() {
	for {
		select {
		case <-o.ended:
			return
		case frame := <-o.frames:
			o.conn.SetWriteDeadline(time.Now().Add(writeWait))
			if _, err := o.conn.Write(frame); err != nil {
				o.conn.Close()
				return
			}
		}
	}
}

func (o *outbox) close() { o.once.Do(func() { close(o.ended) }) }
