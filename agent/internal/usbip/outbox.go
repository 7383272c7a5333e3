package usbip

import (
	"io"
	"net"
	"sync"
)

// outbox queues messages and writes them to a connection in order, from the
// goroutine run. Callers of put never block.
type outbox struct {
	w io.WriteCloser

	mu     sync.Mutex
	wake   *sync.Cond // on mu: wakes run
	queue  net.Buffers
	closed bool
}

func newOutbox(w io.WriteCloser) *outbox {
	o := &outbox{w: w}
	o.wake = sync.NewCond(&o.mu)
	return o
}

// put queues one message, which may consist of several pieces. The caller must
// not change the pieces afterwards. After close, put has no effect.
func (o *outbox) put(pieces ...[]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.queue = append(o.queue, pieces...)
		o.wake.Signal()
	}
}

// run writes until close is called or a write fails. After a failed write it
// closes the connection, so that its reader ends too.
func (o *outbox) run() {
	for {
		o.mu.Lock()
		for len(o.queue) == 0 && !o.closed {
			o.wake.Wait()
		}
		queue := o.queue
		o.queue = nil
		closed := o.closed
		o.mu.Unlock()
		if closed {
			return
		}
		if _, err := queue.WriteTo(o.w); err != nil {
			o.close()
			o.w.Close()
		}
	}
}

// close drops the queued messages and ends run.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.queue = true, nil
	o.wake.Signal()
}
