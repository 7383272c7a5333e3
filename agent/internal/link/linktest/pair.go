package linktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// laneDepth is how many frames a lane of an in-memory link holds before Send
// blocks.
const laneDepth = 32

// Memory is an end of a link in memory.
type Memory struct {
	info  link.Info
	other *Memory
	ended *ending // shared by both ends

	mu    sync.Mutex
	out   map[tunnel.Lane]*memoryLane // guarded by mu
	fresh chan *memoryLane            // lanes that this end has yet to run
	stats link.Stats                  // guarded by mu
}

type memoryLane struct {
	frames chan tunnel.Frame
	over   chan struct{} // closed by EndLane
}

// ending is how a link in memory ended.
type ending struct {
	once sync.Once
	done chan struct{}
	by   *Memory // who closed it; nil if it broke
	err  error   // what the end that did not close it is told
}

func (e *ending) end(by *Memory, err error) {
	e.once.Do(func() {
		e.by, e.err = by, err
		close(e.done)
	})
}

// Pair makes a link in memory and returns its two ends. It keeps lanes apart
// as QUIC does, and blocks a sender whose receiver does not keep up.
func Pair(dialer, acceptor ident.PeerID, path link.Path) (dialing, accepting *Memory) {
	ended := &ending{done: make(chan struct{})}
	end := func(peer ident.PeerID, dialed bool) *Memory {
		return &Memory{
			info: link.Info{Peer: peer, Dialed: dialed, Path: path}, ended: ended,
			out:   make(map[tunnel.Lane]*memoryLane),
			fresh: make(chan *memoryLane, tunnel.MaxLanes),
		}
	}
	dialing, accepting = end(acceptor, true), end(dialer, false)
	dialing.other, accepting.other = accepting, dialing
	return dialing, accepting
}

// Break ends both ends with an error, as a lost path does. What is on its way
// is lost.
func (m *Memory) Break(err error) { m.ended.end(nil, err) }

// Ended reports whether the link has ended.
func (m *Memory) Ended() bool {
	select {
	case <-m.ended.done:
		return true
	default:
		return false
	}
}

// Info returns the peer and the path given to Pair. The first end that Pair
// returned is the one that dialed.
func (m *Memory) Info() link.Info { return m.info }

// Stats counts the bytes of frames.
func (m *Memory) Stats() link.Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

// Send hands a copy of the frame to the other end.
func (m *Memory) Send(f tunnel.Frame) error {
	if err := f.Check(); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	m.mu.Lock()
	lane, ok := m.out[f.Lane]
	if !ok {
		lane = &memoryLane{frames: make(chan tunnel.Frame, laneDepth), over: make(chan struct{})}
		m.out[f.Lane] = lane
		select {
		case m.other.fresh <- lane:
		default:
			m.mu.Unlock()
			return errors.New("too many lanes that the other end has not run")
		}
	}
	m.mu.Unlock()
	f.Body = bytes.Clone(f.Body)
	select {
	case <-m.ended.done:
		return m.reason()
	default:
	}
	select {
	case lane.frames <- f:
		m.count(func(s *link.Stats) *uint64 { return &s.BytesSent }, f)
		return nil
	case <-m.ended.done:
		return m.reason()
	}
}

func (m *Memory) count(field func(*link.Stats) *uint64, f tunnel.Frame) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*field(&m.stats) += uint64(tunnel.HeaderSize + len(f.Body))
}

// EndLane forgets the lane once its frames have been delivered.
func (m *Memory) EndLane(lane tunnel.Lane) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ending, ok := m.out[lane]; ok {
		close(ending.over)
		delete(m.out, lane)
	}
}

// Run delivers until the link ends.
func (m *Memory) Run(ctx context.Context, deliver func(tunnel.Frame) error) error {
	stop := context.AfterFunc(ctx, func() { m.Close("") })
	defer stop()
	var lanes sync.WaitGroup
	defer lanes.Wait()
	failed := make(chan error, 1)
	for {
		select {
		case lane := <-m.fresh:
			lanes.Go(func() {
				if err := m.runLane(lane, deliver); err != nil {
					select {
					case failed <- err:
					default:
					}
					m.Close(err.Error())
				}
			})
		case <-m.ended.done:
			lanes.Wait()
			select {
			case err := <-failed:
				return err
			default:
			}
			if m.ended.by == m {
				return nil
			}
			return m.reason()
		}
	}
}

func (m *Memory) runLane(lane *memoryLane, deliver func(tunnel.Frame) error) error {
	for {
		select {
		case <-m.ended.done:
			return nil
		case f := <-lane.frames:
			m.count(func(s *link.Stats) *uint64 { return &s.BytesReceived }, f)
			if err := deliver(f); err != nil {
				return err
			}
		case <-lane.over:
			if len(lane.frames) == 0 { // what was sent before the end comes first
				return nil
			}
		}
	}
}

// Close ends the link at both ends.
func (m *Memory) Close(reason string) {
	m.ended.end(m, &link.ClosedError{Reason: link.CleanReason(reason)})
}

// reason is why a link that has ended did.
func (m *Memory) reason() error {
	if m.ended.by == m {
		return link.ErrClosed
	}
	return m.ended.err
}

// LAN is a path for tests that do not care for it.
func LAN() link.Path {
	return link.Path{Rank: link.RankHost, Transport: "memory", Local: "here", Remote: "there", Encrypted: true}
}
