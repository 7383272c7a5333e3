package usbip

import (
	"io"
	"net"
	"sync"
)

// outbox writes messages to a connection in the order of their queueing, from
// one goroutine, so that who queues never blocks.
type outbox struct {
	w io.WriteCloser

	mu     sync.Mutex
	wake   *sync.Cond
	queue  net.Buffers
	closed bool
}

func newOutbox(w io.WriteCloser) *outbox {
	o := &outbox{w: w}
	o.wake = sync.NewCond(&o.mu)
	return o
}

// put queues one message, in one or more pieces that must not change any more.
func (o *outbox) put(pieces ...[]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.queue = append(o.queue, pieces...)
		o.wake.Signal()
	}
}

// run writes until close, or until the connection takes no more: it closes it
// then, so that the reader learns of it.
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

// close drops what is queued and ends run.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.queue = true, nil
	o.wake.Signal()
}
