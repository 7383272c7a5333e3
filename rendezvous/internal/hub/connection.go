package hub

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// Bounds of a connection.
const (
	maxUnconfirmed = 64        // messages delivered to a peer and not confirmed
	maxQueue       = 256       // frames queued for a peer
	maxAnswers     = 128       // frames queued for a peer before the hub stops reading from it
	maxQueueBytes  = 512 << 10 // bytes queued for a peer
)

// The rate of messages of a peer. The burst lets two agents exchange all their candidates at once. No well-behaved
// agent sends at the sustained rate.
const (
	messageBurst      = 128
	messagesPerSecond = 32
	messageUnit       = 4096 // bytes of a body that count as one more message
)

// messageCost returns the number of messages that a message with a body of some bytes counts as.
func messageCost(bytes int) int { return 1 + bytes/messageUnit }

// Reasons for which the hub ends connections.
var (
	byeDraining = signal.Bye{Code: signal.ByeDraining, Text: "this instance of the rendezvous is stopping"}
	byeReplaced = signal.Bye{Code: signal.ByeReplaced, Text: "the same peer has connected again"}
)

// connection is the signalling connection of one peer:
//
//	entering ──► open ──► closing (Bye queued) ──► draining (Bye sent) ──► closed
//	               └──── stream lost ───────────────────────────────────────▲
//
// run reads from the peer. The queue is written by a goroutine that exists only until the queue is empty. After the
// Bye, the connection still accepts confirmations until the peer closes the stream.
type connection struct {
	// Static after newConnection.
	hub      *Hub
	peer     ident.PeerID
	stream   stream
	since    time.Time
	couriers couriers
	running  sync.WaitGroup // the writer and the couriers, while they exist

	// Owned by run.
	rate *rate.Limiter // of the peer's messages

	// Guarded by mu.
	mu          sync.Mutex
	written     *sync.Cond // signalled when the queue is empty
	queue       [][]byte
	queueBytes  int
	writing     bool
	moving      bool      // the peer was asked to move to another instance
	closing     bool      // nothing more is queued, and run ends soon
	readUntil   time.Time // the read deadline after the Bye; zero until the Bye is sent
	unconfirmed map[uint32]*delivery
	lastNumber  uint32
}

// delivery is a message that the peer has not confirmed yet.
type delivery struct {
	done  func(error)
	timer *time.Timer
}

func newConnection(h *Hub, id ident.PeerID, s stream) *connection {
	c := &connection{
		hub: h, peer: id, stream: s, since: h.cluster.Now().Truncate(time.Millisecond),
		rate: rate.NewLimiter(messagesPerSecond, messageBurst),
	}
	c.written = sync.NewCond(&c.mu)
	c.couriers.from = c
	return c
}

// run serves the peer until its stream ends.
func (c *connection) run(ctx context.Context, frames *signal.Reader) {
	c.enqueue(signal.Welcome{Idle: signal.IdleTimeout})
	if !c.hub.enter(c) {
		c.bye(byeDraining)
	}
	c.read(ctx, frames)
	c.hub.leave(c)
	c.close()
	c.stream.Close()
	c.running.Wait()
}

// read handles the messages of the peer. After a Bye it handles confirmations only, and drops everything else.
func (c *connection) read(ctx context.Context, frames *signal.Reader) {
	for {
		c.awaitWritten()
		c.setReadDeadline()
		m, err := frames.FromPeer()
		if err != nil {
			c.explain(err)
			return
		}
		if _, confirms := m.(signal.Got); !confirms && c.isClosing() {
			continue
		}
		switch m := m.(type) {
		case signal.Ping:
			if m.Token == signal.AskFeatures {
				c.enqueue(c.hub.features)
			}
			c.enqueue(signal.Pong(m))
		case signal.Got:
			c.settle(m.Number, nil)
		case signal.Send:
			c.send(ctx, m)
		case signal.LinkReport:
			c.reportLink(ctx, m)
		default:
			c.bye(signal.Bye{Code: signal.ByeProtocol, Text: "a second Hello came"})
		}
	}
}

// awaitWritten waits until the queue is written, if it is long. A peer that sends faster than it reads the answers
// cannot send more meanwhile.
func (c *connection) awaitWritten() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) >= maxAnswers && !c.closing {
		c.written.Wait()
	}
}

// setReadDeadline bounds the wait for the next frame of the peer.
func (c *connection) setReadDeadline() {
	c.mu.Lock()
	defer c.mu.Unlock()
	until := c.readUntil
	switch {
	case !c.closing:
		until = time.Now().Add(signal.IdleTimeout)
	case until.IsZero():
		until = time.Now().Add(byeTimeout)
	}
	c.stream.SetReadDeadline(until)
}

// explain ends the connection with a Bye if the peer has caused the error.
func (c *connection) explain(err error) {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.bye(signal.Bye{Code: signal.ByeIdle, Text: "nothing came for too long"})
	case errors.Is(err, signal.ErrFrameSize), errors.Is(err, signal.ErrKind), errors.Is(err, signal.ErrBody):
		c.bye(signal.Bye{Code: signal.ByeProtocol, Text: err.Error()})
	default:
		return
	}
	c.running.Wait() // until the Bye is sent
}

// isClosing reports whether the connection has ended or ends with a Bye.
func (c *connection) isClosing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing
}

// move asks the peer to move to another instance.
func (c *connection) move() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moving = true
	c.enqueueLocked(signal.Move{})
}

func (c *connection) isMoving() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.moving
}

// bye ends the connection with a reason. The peer is no longer present when bye returns. It does not wait.
func (c *connection) bye(m signal.Bye) {
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return
	}
	c.appendLocked(m)
	c.closing = true
	c.mu.Unlock()
	c.hub.leave(c)
}

// close refuses further messages and reports unconfirmed ones to their senders as failed.
func (c *connection) close() {
	c.mu.Lock()
	c.closing = true
	unconfirmed := c.unconfirmed
	c.unconfirmed = nil
	c.mu.Unlock()
	c.couriers.stop()
	for _, d := range unconfirmed {
		d.timer.Stop()
		d.done(signal.FailureUnconfirmed)
	}
}
