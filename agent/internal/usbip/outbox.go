package usbip

import (
	"io"
	"net"
	"sync"
)

// outbox queues messages and writes them to a connection in order, from the
// goroutine run. Callers of put never block. It writes all that is queued in one
// system call, and copies no data.
type outbox struct {
	w io.WriteCloser

	mu     sync.Mutex
	wake   *sync.Cond // on mu: wakes run
	queue  batch
	closed bool
}

// batch is a sequence of messages.
type batch struct {
	heads []byte // of all messages
	data  []piece
}

// piece is data that follow the heads before them.
type piece struct {
	after   int // the end of those heads in batch.heads
	data    []byte
	written func() // called after the message was written; may be nil
}

// message is a message, or its beginning.
type message interface{ AppendTo([]byte) []byte }

func newOutbox(w io.WriteCloser) *outbox {
	o := &outbox{w: w}
	o.wake = sync.NewCond(&o.mu)
	return o
}

// put queues a message and the data that follow it, if any. The caller must not
// change the data until run calls written, which may be nil. If the message is never
// written, run does not call it. After close, put has no effect.
func (o *outbox) put(m message, data []byte, written func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.queue.heads = m.AppendTo(o.queue.heads)
	if len(data) > 0 || written != nil {
		o.queue.data = append(o.queue.data, piece{len(o.queue.heads), data, written})
	}
	o.wake.Signal()
}

// run writes until close is called or a write fails. After a failed write it
// closes the connection, so that its reader ends too.
func (o *outbox) run() {
	var spare batch
	var buffers net.Buffers
	for {
		next, ok := o.take(spare)
		if !ok {
			return
		}
		buffers = next.appendTo(buffers[:0])
		rest := buffers // WriteTo changes it
		if _, err := rest.WriteTo(o.w); err != nil {
			o.close()
			o.w.Close()
			return
		}
		clear(buffers)
		spare = next.finish()
	}
}

// take waits for messages and returns them. It returns false after close. The memory of
// spare is used for the next messages.
func (o *outbox) take(spare batch) (batch, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.queue.isEmpty() && !o.closed {
		o.wake.Wait()
	}
	next := o.queue
	o.queue = spare
	return next, !o.closed
}

// close drops the queued messages and ends run.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.queue = true, batch{}
	o.wake.Signal()
}

// maxSpareHeads bounds the memory that a batch keeps for further messages, in bytes.
const maxSpareHeads = 64 << 10

func (b *batch) isEmpty() bool { return len(b.heads) == 0 && len(b.data) == 0 }

// appendTo appends the bytes of all messages. The heads of messages without data are one
// piece with the next one.
func (b *batch) appendTo(buffers net.Buffers) net.Buffers {
	begin := 0
	for _, p := range b.data {
		if begin < p.after {
			buffers = append(buffers, b.heads[begin:p.after])
		}
		if len(p.data) > 0 {
			buffers = append(buffers, p.data)
		}
		begin = p.after
	}
	if begin < len(b.heads) {
		buffers = append(buffers, b.heads[begin:])
	}
	return buffers
}

// finish reports that all messages were written. It returns an empty batch with the same
// memory.
func (b *batch) finish() batch {
	for i, p := range b.data {
		if p.written != nil {
			p.written()
		}
		b.data[i] = piece{}
	}
	if cap(b.heads) > maxSpareHeads {
		b.heads = nil
	}
	return batch{heads: b.heads[:0], data: b.data[:0]}
}
