package hub

import (
	"context"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// maxCarried is the maximum number of messages of a peer that wait for the registry or for another instance.
const maxCarried = 64

// message is a message that a peer has sent and that is not answered yet.
type message struct {
	signal.Send
	began     time.Time
	elsewhere bool // the receiver is connected to another instance
}

// send handles a Send of the peer. It delivers the message immediately if the receiver is connected to this instance
// and is known to accept it. Otherwise a courier delivers it.
func (c *connection) send(ctx context.Context, m signal.Send) {
	o := message{Send: m, began: time.Now()}
	if !c.rate.AllowN(c.hub.now(), messageCost(len(m.Body))) {
		c.answer(o, signal.FailureRate)
		return
	}
	if c.sendNow(o) {
		return
	}
	if !c.couriers.add(ctx, o) {
		c.hub.observe(true, signal.FailureBusy, 0)
		c.enqueue(signal.SendFailed{ID: m.ID, Code: signal.FailureBusy})
	}
}

// sendNow delivers a message that need not wait, and reports whether it did. A message must wait for earlier messages
// to the same receiver.
func (c *connection) sendNow(m message) bool {
	if c.couriers.has(m.To) || !c.hub.consents.fresh(c.route(m.To)) {
		return false
	}
	to := c.hub.connection(m.To)
	if to != nil {
		to.deliver(c.peer, m.Body, func(err error) { c.answer(m, err) })
	}
	return to != nil
}

// route returns the route of a message of the peer.
func (c *connection) route(to ident.PeerID) Route { return Route{From: c.peer, To: to} }

// couriers delivers messages of one peer that must wait for the registry or for another instance. There is one
// goroutine for each receiver that has messages, so that messages for one receiver stay in order and do not delay
// others.
type couriers struct {
	from *connection // static

	// Guarded by mu.
	mu      sync.Mutex
	queues  map[ident.PeerID][]message // by receiver; nil if there is no courier
	ctx     context.Context            // of the couriers; nil if there is none
	cancel  context.CancelFunc         // ends ctx
	carried int                        // messages in queues, and messages that are sent and not answered
	stopped bool
}

// has reports whether a courier delivers messages to a receiver.
func (c *couriers) has(to ident.PeerID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.queues[to]
	return ok
}

// add queues a message. It reports false if there are too many. After stop it drops the message, because the sender is
// gone.
func (c *couriers) add(ctx context.Context, m message) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.stopped:
		return true
	case c.carried >= maxCarried:
		return false
	}
	if c.queues == nil {
		c.queues = map[ident.PeerID][]message{}
		c.ctx, c.cancel = context.WithCancel(ctx)
	}
	queue, running := c.queues[m.To]
	c.queues[m.To] = append(queue, m)
	c.carried++
	if ctx := c.ctx; !running {
		c.from.running.Go(func() { c.run(ctx, m.To) })
	}
	return true
}

// stop ends the couriers. Messages that are not sent yet are dropped.
func (c *couriers) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	if c.cancel != nil {
		c.cancel()
	}
}

// run delivers the messages to one receiver until the queue is empty.
func (c *couriers) run(ctx context.Context, to ident.PeerID) {
	for {
		m, ok := c.next(to)
		if !ok {
			return
		}
		c.deliver(ctx, m)
	}
}

// next returns the next message to a receiver. It reports false when its courier ends.
func (c *couriers) next(to ident.PeerID) (message, bool) {
	closing := c.from.isClosing()
	c.mu.Lock()
	defer c.mu.Unlock()
	queue := c.queues[to]
	if len(queue) == 0 || closing || c.stopped {
		if delete(c.queues, to); len(c.queues) == 0 {
			c.cancel()
			c.queues, c.ctx, c.cancel = nil, nil, nil // an idle connection keeps nothing
		}
		return message{}, false
	}
	c.queues[to] = queue[1:]
	return queue[0], true
}

// deliver delivers one message: to a peer of this instance, or through the cluster.
func (c *couriers) deliver(ctx context.Context, m message) {
	hub, from := c.from.hub, c.from
	done := func(err error) {
		c.mu.Lock()
		c.carried--
		c.mu.Unlock()
		from.answer(m, err)
	}
	if err := hub.consents.check(ctx, from.route(m.To)); err != nil {
		done(err)
		return
	}
	if to := hub.connection(m.To); to != nil {
		to.deliver(from.peer, m.Body, done)
		return
	}
	m.elsewhere = true
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	hub.cluster.Forward(ctx, from.peer, m.To, m.Body, done)
}
