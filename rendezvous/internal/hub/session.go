package hub

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// Bounds of a session.
const (
	maxUnconfirmed = 64        // messages delivered to a peer and not confirmed
	maxQueue       = 256       // frames queued for a peer
	maxAnswers     = 128       // frames queued for a peer of which more is read
	maxQueueBytes  = 512 << 10 // bytes of them
	maxCarried     = 64        // messages of a peer that wait or are on the way to other instances
)

// session is one peer's connection. Its life:
//
//	entering ──► open ──► closing (Bye queued) ──► silent (Bye sent) ──► closed
//	               └──── connection lost ────────────────────────────────▲
//
// run owns the reading side. What is queued is written by a goroutine that
// exists only until the queue is empty. Once silent, the session still takes
// what the peer confirms, until the peer hangs up.
type session struct {
	// Static after newSession.
	hub     *Hub
	id      ident.PeerID
	conn    wire
	since   time.Time
	running sync.WaitGroup // writer and couriers, while they exist

	// Owned by run.
	budget bucket

	// Guarded by mu.
	mu          sync.Mutex
	room        *sync.Cond // told when the queue is empty
	queue       [][]byte
	queueBytes  int
	writing     bool
	moving      bool      // it was sent to another instance
	closing     bool      // nothing is queued any more, run is about to end
	silent      time.Time // when it stops taking what the peer confirms; zero until the Bye is sent
	unconfirmed map[uint32]*delivery
	lastNumber  uint32
	couriers    map[ident.PeerID][]outgoing // nil without; what each has still to carry
	away        context.Context             // of the couriers; nil without
	recall      context.CancelFunc          // ends that
	carried     int                         // messages that couriers have, or have handed on and that are not answered
}

// outgoing is a message of the peer on its way.
type outgoing struct {
	signal.Send
	began     time.Time
	elsewhere bool // to another instance
}

// delivery is a message whose Got is awaited.
type delivery struct {
	done  func(error)
	timer *time.Timer
}

func newSession(h *Hub, id ident.PeerID, conn wire) *session {
	s := &session{hub: h, id: id, conn: conn, since: h.cluster.Now().Truncate(time.Millisecond), budget: newBucket(h.now())}
	s.room = sync.NewCond(&s.mu)
	return s
}

// run serves the peer until its connection ends.
func (s *session) run(ctx context.Context, frames *signal.Reader) {
	s.enqueue(signal.Welcome{Idle: signal.IdleTimeout})
	if !s.hub.enter(s) {
		s.drained()
	}
	s.read(ctx, frames)
	s.hub.leave(s)
	s.close()
	s.conn.Close()
	s.running.Wait()
}

// read handles what the peer sends. One that has been told to go only confirms
// what it has got: what else it says is dropped, however long it goes on.
func (s *session) read(ctx context.Context, frames *signal.Reader) {
	for {
		s.awaitRoom()
		s.awaitFrame()
		m, err := frames.FromPeer()
		if err != nil {
			s.explain(err)
			return
		}
		if _, confirms := m.(signal.Got); !confirms && s.isClosing() {
			continue
		}
		switch m := m.(type) {
		case signal.Ping:
			if m.Token == signal.AskFeatures {
				s.enqueue(s.hub.features)
			}
			s.enqueue(signal.Pong(m))
		case signal.Got:
			s.settle(m.Number, nil)
		case signal.Send:
			s.send(ctx, m)
		case signal.LinkReport:
			s.path(ctx, m)
		default:
			s.bye(signal.ByeProtocol, "a second Hello came")
		}
	}
}

// awaitRoom keeps a peer that sends faster than it takes the answers from
// sending more, until the queue is written.
func (s *session) awaitRoom() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) >= maxAnswers && !s.closing {
		s.room.Wait()
	}
}

// isClosing reports whether nothing is queued for the peer any more.
func (s *session) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// move sends the peer to another instance.
func (s *session) move() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moving = true
	s.enqueueLocked(signal.Move{})
}

func (s *session) isMoving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.moving
}

// awaitFrame sets how long to wait for the peer's next frame.
func (s *session) awaitFrame() {
	s.mu.Lock()
	defer s.mu.Unlock()
	until := s.silent
	switch {
	case !s.closing:
		until = time.Now().Add(signal.IdleTimeout)
	case until.IsZero():
		until = time.Now().Add(byeTimeout)
	}
	s.conn.SetReadDeadline(until)
}

// fallSilent gives the peer, which has its Bye, a while to confirm what it has got.
func (s *session) fallSilent() {
	s.conn.CloseWrite()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = time.Now().Add(byeTimeout)
	s.conn.SetReadDeadline(s.silent)
}

// explain tells the peer why its connection ends, where it is its own doing.
func (s *session) explain(err error) {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.bye(signal.ByeIdle, "nothing came for too long")
	case errors.Is(err, signal.ErrFrameSize), errors.Is(err, signal.ErrKind), errors.Is(err, signal.ErrBody):
		s.bye(signal.ByeProtocol, err.Error())
	default:
		return
	}
	s.running.Wait() // until the Bye is out
}

// answer tells the peer how its Send went: err is nil or a signal.Failure.
func (s *session) answer(o outgoing, err error) {
	if err == nil {
		s.hub.observe(o.elsewhere, nil, time.Since(o.began))
		s.enqueue(signal.Sent{ID: o.ID})
		return
	}
	code := signal.FailureUnavailable
	errors.As(err, &code)
	s.hub.observe(o.elsewhere, code, time.Since(o.began))
	s.enqueue(signal.SendFailed{ID: o.ID, Code: code})
}

// deliver queues a message for the peer and calls done once it is confirmed or
// will not be. It never blocks.
func (s *session) deliver(from ident.PeerID, body []byte, done func(error)) {
	if err := s.queueDelivery(from, body, done); err != nil {
		done(err)
	}
}

func (s *session) queueDelivery(from ident.PeerID, body []byte, done func(error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return signal.FailureOffline
	}
	if len(s.unconfirmed) >= maxUnconfirmed || s.queueBytes+len(body) > maxQueueBytes {
		return signal.FailureBusy
	}
	if s.unconfirmed == nil {
		s.unconfirmed = map[uint32]*delivery{}
	}
	s.lastNumber++
	number := s.lastNumber
	s.unconfirmed[number] = &delivery{
		done:  done,
		timer: time.AfterFunc(confirmTimeout, func() { s.settle(number, signal.FailureUnconfirmed) }),
	}
	s.enqueueLocked(signal.Deliver{Number: number, From: from, Body: body})
	return nil
}

// settle ends a delivery with its result, once.
func (s *session) settle(number uint32, result error) {
	s.mu.Lock()
	d := s.unconfirmed[number]
	delete(s.unconfirmed, number)
	if len(s.unconfirmed) == 0 {
		s.unconfirmed = nil // an idle session keeps no map
	}
	s.mu.Unlock()
	if d != nil {
		d.timer.Stop()
		d.done(result)
	}
}

// enqueue queues a frame for the peer.
func (s *session) enqueue(m signal.FromRendezvous) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enqueueLocked(m)
}

func (s *session) enqueueLocked(m signal.FromRendezvous) {
	if s.closing {
		return
	}
	if len(s.queue) >= maxQueue {
		s.closing = true // it does not read; there is no room for a Bye
		s.conn.abort()
		return
	}
	s.appendLocked(m)
}

// appendLocked puts a frame into the queue and sees to it that it is written.
func (s *session) appendLocked(m signal.FromRendezvous) {
	frame := signal.AppendFromRendezvous(nil, m)
	s.queue = append(s.queue, frame)
	s.queueBytes += len(frame)
	if !s.writing {
		s.writing = true
		s.running.Go(s.flush)
	}
}

// flush writes what is queued until nothing is, and closes the connection
// behind a Bye.
func (s *session) flush() {
	var out []byte
	for {
		s.mu.Lock()
		frames, closing := s.queue, s.closing
		s.queue, s.queueBytes = nil, 0
		s.room.Signal()
		if len(frames) == 0 {
			s.writing = false
		}
		s.mu.Unlock()
		if len(frames) == 0 {
			if closing {
				s.fallSilent()
			}
			return
		}
		out = out[:0]
		for _, f := range frames {
			out = append(out, f...)
		}
		patience := writeTimeout
		if closing {
			patience = byeTimeout
		}
		s.conn.SetWriteDeadline(time.Now().Add(patience))
		if _, err := s.conn.Write(out); err != nil {
			s.conn.abort()
		}
	}
}

// bye says why the connection ends, and ends it. It does not wait. The peer is
// not here any more from now on.
func (s *session) bye(code signal.ByeCode, text string) {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return
	}
	s.appendLocked(signal.Bye{Code: code, Text: text})
	s.closing = true
	s.mu.Unlock()
	s.hub.leave(s)
}

// drained sends the peer away because this instance stops.
func (s *session) drained() { s.bye(byeDraining.Code, byeDraining.Text) }

// close lets nothing more in and tells the senders of what is unconfirmed.
func (s *session) close() {
	s.mu.Lock()
	s.closing = true
	if s.recall != nil {
		s.recall() // and wakes them
	}
	unconfirmed := s.unconfirmed
	s.unconfirmed = nil
	s.mu.Unlock()
	for _, d := range unconfirmed {
		d.timer.Stop()
		d.done(signal.FailureUnconfirmed)
	}
}
