package session

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// cable is a link that tests can cut at any point: before a frame is sent, while it is on its way, or after its
// delivery and before its sender knows.
type cable struct {
	ends [2]*cableEnd
	over chan struct{}

	mu     sync.Mutex
	rng    *rand.Rand
	left   int // frames until it is cut; negative: never
	delay  time.Duration
	mute   bool  // Send blocks
	cutErr error // of Run when the cable is cut; nil: it was closed
	acks   int   // frames of KindAck that were sent, by either end
}

// cableEnd is one end of a cable.
type cableEnd struct {
	c      *cable
	other  *cableEnd
	remote ident.PeerID
	dialed bool
	rank   link.Rank

	mu     sync.Mutex
	lanes  map[tunnel.Lane]chan tunnel.Frame // arriving here
	fresh  chan chan tunnel.Frame
	closed string
}

// Copies of unexported bounds of the transport.
const (
	ackDelay      = 25 * time.Millisecond
	retireTimeout = 5 * time.Second
)

var errCut = errors.New("the cable was cut")

// newCable returns a cable between a, which dials, and b. It is cut after that many frames, or never if negative.
func newCable(rng *rand.Rand, a, b ident.PeerID, rank link.Rank, cut int) *cable {
	c := &cable{over: make(chan struct{}), rng: rng, left: cut}
	for i, remote := range []ident.PeerID{b, a} {
		c.ends[i] = &cableEnd{
			c: c, remote: remote, dialed: i == 0, rank: rank,
			lanes: make(map[tunnel.Lane]chan tunnel.Frame), fresh: make(chan chan tunnel.Frame, tunnel.MaxLanes),
		}
	}
	c.ends[0].other, c.ends[1].other = c.ends[1], c.ends[0]
	return c
}

// cut ends the cable, as after a Close if it is orderly, else as after the loss of its path.
func (c *cable) cut(orderly bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if orderly {
		c.end(nil)
	} else {
		c.end(errCut)
	}
}

// end ends the cable. mu must be held.
func (c *cable) end(err error) {
	select {
	case <-c.over:
	default:
		c.cutErr = err
		close(c.over)
	}
}

// silence makes every Send block. The links notice the silence as real ones do.
func (c *cable) silence() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mute = true
	time.AfterFunc(link.SilenceTimeout, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.end(link.ErrSilent)
	})
}

func (c *cable) isOver() bool {
	select {
	case <-c.over:
		return true
	default:
		return false
	}
}

func (p *cableEnd) Stats() link.Stats { return link.Stats{} }

func (p *cableEnd) Info() link.Info {
	return link.Info{Peer: p.remote, Dialed: p.dialed, Path: link.Path{Rank: p.rank, Transport: "cable"}}
}

func (p *cableEnd) Send(f tunnel.Frame) error {
	if err := f.Check(); err != nil {
		return err
	}
	c := p.c
	c.mu.Lock()
	lost := false // whether this frame is lost with the cable
	if c.left == 0 && c.rng.IntN(2) == 0 {
		c.end(errCut)
	}
	if c.left == 0 {
		lost = true
	} else if c.left > 0 {
		c.left--
	}
	if f.Kind == tunnel.KindAck {
		c.acks++
	}
	mute := c.mute
	c.mu.Unlock()
	if c.isOver() {
		return errCut
	}
	if mute {
		<-c.over
		return errCut
	}
	f.Body = bytes.Clone(f.Body)
	if !lost {
		select {
		case p.other.lane(f.Lane) <- f:
		case <-c.over:
			return errCut
		}
	} else {
		c.cut(false)
	}
	return nil
}

// lane returns the queue of frames that arrive here on a lane.
func (p *cableEnd) lane(l tunnel.Lane) chan tunnel.Frame {
	p.mu.Lock()
	defer p.mu.Unlock()
	ch := p.lanes[l]
	if ch == nil {
		ch = make(chan tunnel.Frame, 4096)
		p.lanes[l] = ch
		p.fresh <- ch
	}
	return ch
}

func (p *cableEnd) EndLane(tunnel.Lane) {}

func (p *cableEnd) Run(ctx context.Context, deliver func(tunnel.Frame) error) error {
	var lanes sync.WaitGroup
	defer lanes.Wait()
	stop := context.AfterFunc(ctx, func() { p.Close("") })
	defer stop()
	failed := make(chan error, 1)
	for {
		select {
		case ch := <-p.fresh:
			lanes.Go(func() { p.deliverLane(ch, deliver, failed) })
		case err := <-failed:
			p.Close(err.Error())
			return err
		case <-p.c.over:
			p.c.mu.Lock()
			defer p.c.mu.Unlock()
			return p.c.cutErr
		}
	}
}

func (p *cableEnd) deliverLane(ch chan tunnel.Frame, deliver func(tunnel.Frame) error, failed chan error) {
	for {
		select {
		case f := <-ch:
			if !p.travel() {
				return
			}
			if err := deliver(f); err != nil {
				select {
				case failed <- err:
				default:
				}
				return
			}
		case <-p.c.over:
			return
		}
	}
}

// travel waits for a random time, so that lanes overtake each other. It returns false if the cable ends first.
func (p *cableEnd) travel() bool {
	p.c.mu.Lock()
	var d time.Duration
	if p.c.delay > 0 {
		d = time.Duration(p.c.rng.Int64N(int64(p.c.delay)))
	}
	p.c.mu.Unlock()
	if d == 0 {
		return !p.c.isOver()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return !p.c.isOver()
	case <-p.c.over:
		return false
	}
}

func (p *cableEnd) Close(reason string) {
	p.mu.Lock()
	if p.closed == "" {
		p.closed = reason
	}
	p.mu.Unlock()
	p.c.cut(true)
}
