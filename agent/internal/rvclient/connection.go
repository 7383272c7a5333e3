package rvclient

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// Timeouts of a connection.
const (
	writeTimeout = 5 * time.Second
	pongTimeout  = 10 * time.Second // after a regular ping
	probeTimeout = 3 * time.Second  // after a ping that Probe caused
	sendTimeout  = 12 * time.Second // longer than the rendezvous waits for the receiving agent
	leaveTimeout = 12 * time.Second // until a connection that has a successor is closed
)

const maxPending = 256 // sent messages without an answer

var errSilent = errors.New("the rendezvous does not answer any more; the network may have changed")

// connection is one signalling connection after its Welcome. read and keepAlive
// each run in one goroutine. send may be called concurrently.
type connection struct {
	wire        wire
	frames      *signal.Reader
	clockOffset time.Duration        // the rendezvous's clock minus this machine's
	pongs       chan uint64          // tokens of received pongs; of capacity 1
	features    chan signal.Features // receives the rendezvous's features once, if it sends them
	move        chan struct{}        // of capacity 1: the rendezvous asks the agent to move to another instance
	ended       chan struct{}        // closed when read has returned

	writing sync.Mutex // held while a frame is written

	// Guarded by mu.
	mu      sync.Mutex
	pending map[uint32]chan error // results of send by ID; nil when ended is closed
	lastID  uint32
}

// greet authenticates to the rendezvous on a new connection, and returns the
// connection after the Welcome. On failure it closes w.
func greet(ctx context.Context, w wire, binding signal.Binding, key ident.Key) (*connection, error) {
	c := &connection{
		wire:     w,
		frames:   signal.NewReader(w),
		pongs:    make(chan uint64, 1),
		features: make(chan signal.Features, 1),
		move:     make(chan struct{}, 1),
		ended:    make(chan struct{}),
		pending:  map[uint32]chan error{},
	}
	stop := context.AfterFunc(ctx, w.abort)
	err := c.authenticate(key, binding)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		w.abort()
		return nil, err
	}
	c.frames.Greeted()
	return c, nil
}

// authenticate answers the Challenge and waits for the Welcome.
func (c *connection) authenticate(key ident.Key, binding signal.Binding) error {
	m, err := c.frames.FromRendezvous()
	if err != nil {
		return fmt.Errorf("greeting of the rendezvous: %w", err)
	}
	challenge, ok := m.(signal.Challenge)
	if !ok {
		return unexpected(m)
	}
	c.clockOffset = time.Until(challenge.Time)
	if err := c.write(signal.NewHello(key, challenge, binding)); err != nil {
		return err
	}
	if m, err = c.frames.FromRendezvous(); err != nil {
		return fmt.Errorf("answer of the rendezvous to our key: %w", err)
	}
	if _, ok := m.(signal.Welcome); !ok {
		return unexpected(m)
	}
	return nil
}

// unexpected returns the error for a message that is not expected in the current
// state. A Bye may come at any time; its error is a *byeError.
func unexpected(m signal.FromRendezvous) error {
	if bye, ok := m.(signal.Bye); ok {
		return &byeError{bye.Code, bye.Text}
	}
	return fmt.Errorf("the rendezvous breaks the protocol: unexpected message %T", m)
}

// write sends one frame.
func (c *connection) write(m signal.FromPeer) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.wire.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := c.wire.Write(signal.AppendFromPeer(nil, m)); err != nil {
		return fmt.Errorf("write to the rendezvous: %w", err)
	}
	return nil
}

// read handles messages until the connection ends, and returns the reason.
// deliver reports whether it accepted a message; only then read confirms it.
func (c *connection) read(deliver func(signal.Deliver) bool) error {
	defer c.end()
	moving := false
	for {
		m, err := c.frames.FromRendezvous()
		if errors.Is(err, io.EOF) {
			return errors.New("the rendezvous closed the connection")
		}
		if err != nil {
			return fmt.Errorf("read from the rendezvous: %w", err)
		}
		switch m := m.(type) {
		case signal.Features:
			offer(c.features, m)
		case signal.Pong:
			if m.Token == signal.AskFeatures {
				continue // a rendezvous that knows Features has sent them before this Pong
			}
			offer(c.pongs, binary.BigEndian.Uint64(m.Token[:]))
		case signal.Move:
			moving = true
			offer(c.move, struct{}{})
		case signal.Sent:
			c.answer(m.ID, nil)
		case signal.SendFailed:
			c.answer(m.ID, failure(m.Code))
		case signal.Deliver:
			if deliver(m) {
				if err := c.write(signal.Got{Number: m.Number}); err != nil {
					return err
				}
			}
		case signal.Bye:
			if moving && m.Code == signal.ByeReplaced {
				m.Code = signal.ByeDraining // this agent itself has connected to another instance
			}
			return unexpected(m)
		default:
			return unexpected(m)
		}
	}
}

// offer sends v on ch unless ch is full.
func offer[T any](ch chan<- T, v T) {
	select {
	case ch <- v:
	default:
	}
}

// end makes all pending calls of send return ErrUnconfirmed.
func (c *connection) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, answer := range c.pending {
		answer <- ErrUnconfirmed
	}
	c.pending = nil
	close(c.ended)
}

// answer passes a result to the call of send with that ID.
func (c *connection) answer(id uint32, result error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer, ok := c.pending[id]; ok {
		answer <- result
		delete(c.pending, id)
	}
}

// send sends an envelope and waits for the rendezvous's answer.
func (c *connection) send(ctx context.Context, to ident.PeerID, envelope []byte) error {
	answer := make(chan error, 1)
	c.mu.Lock()
	switch {
	case c.pending == nil:
		c.mu.Unlock()
		return ErrNotConnected
	case len(c.pending) >= maxPending:
		c.mu.Unlock()
		return ErrBusy
	}
	c.lastID++
	id := c.lastID
	c.pending[id] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, id)
		c.mu.Unlock()
	}()
	if err := c.write(signal.Send{ID: id, To: to, Body: envelope}); err != nil {
		c.wire.abort() // the rendezvous may have received a part of the frame
		return fmt.Errorf("%w: %w", ErrUnconfirmed, err)
	}
	timer := time.NewTimer(sendTimeout)
	defer timer.Stop()
	select {
	case err := <-answer:
		return err
	case <-timer.C:
		return ErrUnconfirmed
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnconfirmed, context.Cause(ctx))
	}
}

// keepAlive sends a ping every signal.PingInterval and after each value from probes.
// It returns nil when ctx ends, and an error if the rendezvous does not answer.
func (c *connection) keepAlive(ctx context.Context, probes <-chan struct{}) error {
	ticker := time.NewTicker(signal.PingInterval)
	defer ticker.Stop()
	for {
		timeout := pongTimeout
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-probes:
			timeout = probeTimeout
		}
		token := randomToken()
		if err := c.write(signal.Ping{Token: token}); err != nil {
			return err
		}
		if err := c.awaitPong(ctx, binary.BigEndian.Uint64(token[:]), timeout, probes); err != nil {
			return err
		}
	}
}

// awaitPong waits for the pong with that token. A value from probes shortens the
// timeout to probeTimeout from then.
func (c *connection) awaitPong(ctx context.Context, token uint64, timeout time.Duration, probes <-chan struct{}) error {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			return errSilent
		case got := <-c.pongs:
			if got == token {
				return nil
			}
		case <-probes:
			timer.Reset(min(timeout, probeTimeout))
		}
	}
}

func randomToken() (token [8]byte) {
	rand.Read(token[:]) // never fails: crypto/rand ends the program instead
	return token
}

// leave closes a connection that has a successor. It first waits until the
// rendezvous ends it, because messages sent on it are still answered. It waits at
// most leaveTimeout, and only while ctx lasts.
func (c *connection) leave(ctx context.Context) {
	timer := time.NewTimer(leaveTimeout)
	defer timer.Stop()
	select {
	case <-c.ended:
	case <-timer.C:
	case <-ctx.Done():
	}
	c.close()
}

// close closes the connection without a farewell message.
func (c *connection) close() { c.wire.abort() }
