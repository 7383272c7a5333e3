package hub

import (
	"errors"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// deliver queues a message for the peer, and calls done when the peer has confirmed it or it has failed. It never
// blocks.
func (c *connection) deliver(from ident.PeerID, body []byte, done func(error)) {
	if err := c.tryDeliver(from, body, done); err != nil {
		done(err)
	}
}

// tryDeliver is deliver, except that it returns an immediate failure and does not call done.
func (c *connection) tryDeliver(from ident.PeerID, body []byte, done func(error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return signal.FailureOffline
	}
	if len(c.unconfirmed) >= maxUnconfirmed || c.queueBytes+len(body) > maxQueueBytes {
		return signal.FailureBusy
	}
	if c.unconfirmed == nil {
		c.unconfirmed = map[uint32]*delivery{}
	}
	c.lastNumber++
	number := c.lastNumber
	c.unconfirmed[number] = &delivery{
		done:  done,
		timer: time.AfterFunc(confirmTimeout, func() { c.settle(number, signal.FailureUnconfirmed) }),
	}
	c.enqueueLocked(signal.Deliver{Number: number, From: from, Body: body})
	return nil
}

// settle ends a delivery with a result. It does nothing if the delivery has ended already.
func (c *connection) settle(number uint32, result error) {
	c.mu.Lock()
	d := c.unconfirmed[number]
	delete(c.unconfirmed, number)
	if len(c.unconfirmed) == 0 {
		c.unconfirmed = nil // an idle connection keeps no map
	}
	c.mu.Unlock()
	if d != nil {
		d.timer.Stop()
		d.done(result)
	}
}

// answer answers a Send of the peer. err is nil or a signal.Failure.
func (c *connection) answer(o message, err error) {
	if err == nil {
		c.hub.observe(o.elsewhere, nil, time.Since(o.began))
		c.enqueue(signal.Sent{ID: o.ID})
		return
	}
	code := signal.FailureUnavailable
	errors.As(err, &code)
	c.hub.observe(o.elsewhere, code, time.Since(o.began))
	c.enqueue(signal.SendFailed{ID: o.ID, Code: code})
}

// enqueue queues a frame for the peer.
func (c *connection) enqueue(m signal.FromRendezvous) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.enqueueLocked(m)
}

// enqueueLocked queues a frame for the peer. mu must be held.
func (c *connection) enqueueLocked(m signal.FromRendezvous) {
	if c.closing {
		return
	}
	if len(c.queue) >= maxQueue {
		c.closing = true // the peer does not read, and there is no room for a Bye
		c.stream.abort()
		return
	}
	c.appendLocked(m)
}

// appendLocked appends a frame to the queue, and starts a writer if necessary. mu must be held.
func (c *connection) appendLocked(m signal.FromRendezvous) {
	frame := signal.AppendFromRendezvous(nil, m)
	c.queue = append(c.queue, frame)
	c.queueBytes += len(frame)
	if !c.writing {
		c.writing = true
		c.running.Go(c.flush)
	}
}

// flush writes the queue until it is empty. After a Bye it closes the stream for writing.
func (c *connection) flush() {
	var out []byte
	for {
		c.mu.Lock()
		frames, closing := c.queue, c.closing
		c.queue, c.queueBytes = nil, 0
		c.written.Signal()
		if len(frames) == 0 {
			c.writing = false
		}
		c.mu.Unlock()
		if len(frames) == 0 {
			if closing {
				c.closeWrite()
			}
			return
		}
		out = out[:0]
		for _, f := range frames {
			out = append(out, f...)
		}
		timeout := writeTimeout
		if closing {
			timeout = byeTimeout
		}
		c.stream.SetWriteDeadline(time.Now().Add(timeout))
		if _, err := c.stream.Write(out); err != nil {
			c.stream.abort()
		}
	}
}

// closeWrite closes the stream for writing after the Bye. The peer has byeTimeout to confirm the messages that it has.
func (c *connection) closeWrite() {
	c.stream.CloseWrite()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readUntil = time.Now().Add(byeTimeout)
	c.stream.SetReadDeadline(c.readUntil)
}
