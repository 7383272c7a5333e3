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

// Times of a connection.
const (
	writeTimeout = 5 * time.Second
	pongTimeout  = 10 * time.Second // after a ping of routine
	probeTimeout = 3 * time.Second  // after a ping in doubt
	sendTimeout  = 12 * time.Second // longer than the rendezvous waits for the other agent
	leaveTimeout = 12 * time.Second // for a connection that was left for another to end
)

const maxPending = 256 // messages sent and not yet answered

var errSilent = errors.New("the rendezvous does not answer any more; the network may have changed")

// connection is one signalling connection, from its Welcome on. read and
// keepAlive each run in one goroutine; send is called from any.
type connection struct {
	wire     wire
	frames   *signal.Reader
	ahead    time.Duration // of the rendezvous's clock before ours
	pongs    chan uint64
	features chan signal.Features // what the rendezvous offers, once, if it says
	move     chan struct{}        // holds one: the rendezvous sends us to another instance
	ended    chan struct{}        // closed when no more answers will come

	// Guarded by writing.
	writing sync.Mutex

	// Guarded by mu.
	mu      sync.Mutex
	pending map[uint32]chan error // nil once ended
	lastID  uint32
}

// greeted proves the key on a connection that has just been opened.
func greeted(ctx context.Context, w wire, bound signal.Binding, key ident.Key) (*connection, error) {
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
	err := c.greet(key, bound)
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

// greet answers the Challenge and waits for the Welcome.
func (c *connection) greet(key ident.Key, bound signal.Binding) error {
	m, err := c.frames.FromRendezvous()
	if err != nil {
		return fmt.Errorf("greeting of the rendezvous: %w", err)
	}
	challenge, ok := m.(signal.Challenge)
	if !ok {
		return unexpected(m)
	}
	c.ahead = time.Until(challenge.Time)
	if err := c.write(signal.NewHello(key, challenge, bound)); err != nil {
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

// unexpected is the error of a message out of place; a Bye is one anywhere.
func unexpected(m signal.FromRendezvous) error {
	if bye, ok := m.(signal.Bye); ok {
		return &byeError{bye.Code, bye.Text}
	}
	return fmt.Errorf("the rendezvous breaks the protocol: %T out of place", m)
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

// read handles what arrives until the connection ends, and returns why. deliver
// reports whether it took a message.
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
			select {
			case c.features <- m:
			default:
			}
		case signal.Pong:
			if m.Token == signal.AskFeatures {
				continue // Features, if it knows of any, came before
			}
			select {
			case c.pongs <- binary.BigEndian.Uint64(m.Token[:]):
			default:
			}
		case signal.Move:
			moving = true
			select {
			case c.move <- struct{}{}:
			default:
			}
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
				m.Code = signal.ByeDraining // by this agent itself, elsewhere, even if it was not to hear so
			}
			return unexpected(m)
		default:
			return unexpected(m)
		}
	}
}

// end tells everyone who waits for an answer that none will come.
func (c *connection) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, answer := range c.pending {
		answer <- ErrUnconfirmed
	}
	c.pending = nil
	close(c.ended)
}

// answer hands the result of a Send to whoever waits for it.
func (c *connection) answer(id uint32, result error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer, ok := c.pending[id]; ok {
		answer <- result
		delete(c.pending, id)
	}
}

// send hands an envelope to the rendezvous and waits for its answer.
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
		c.wire.abort() // half a frame may be out: the connection is of no more use
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

// keepAlive pings by routine, and at once when doubt is signalled, until ctx
// ends or the rendezvous does not answer.
func (c *connection) keepAlive(ctx context.Context, doubt <-chan struct{}) error {
	routine := time.NewTicker(signal.PingInterval)
	defer routine.Stop()
	for {
		patience := pongTimeout
		select {
		case <-ctx.Done():
			return nil
		case <-routine.C:
		case <-doubt:
			patience = probeTimeout
		}
		token := randomToken()
		if err := c.write(signal.Ping{Token: token}); err != nil {
			return err
		}
		if err := c.awaitPong(ctx, binary.BigEndian.Uint64(token[:]), patience, doubt); err != nil {
			return err
		}
	}
}

// awaitPong waits for the answer to a ping; doubt shortens its patience.
func (c *connection) awaitPong(ctx context.Context, token uint64, patience time.Duration, doubt <-chan struct{}) error {
	timer := time.NewTimer(patience)
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
		case <-doubt:
			timer.Reset(min(patience, probeTimeout))
		}
	}
}

func randomToken() (token [8]byte) {
	rand.Read(token[:]) // never fails: crypto/rand ends the program instead
	return token
}

// leave ends the connection once the rendezvous has let go of it, or at once with
// ctx: what was sent on it is answered until then.
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

// close ends the connection without a word; the rendezvous sees the TCP
// connection end.
func (c *connection) close() { c.wire.abort() }
