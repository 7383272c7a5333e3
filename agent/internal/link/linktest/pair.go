package linktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// laneCapacity is the number of frames that a lane holds before Send blocks.
const laneCapacity = 32

// distantCapacity is the same for a link with a delay.
const distantCapacity = 4096

// Memory is one side of a link in memory.
type Memory struct {
	info link.Info
	peer *Memory
	end  *memoryEnd // shared by both sides

	delay    time.Duration // of each frame
	capacity int           // of a lane

	mu    sync.Mutex
	out   map[tunnel.Lane]*memoryLane // guarded by mu
	added chan *memoryLane            // lanes of the peer that Run has not started yet
	stats link.Stats                  // guarded by mu
}

type memoryLane struct {
	frames chan memoryFrame
	ended  chan struct{} // closed by EndLane
}

type memoryFrame struct {
	tunnel.Frame
	sent time.Time
}

// memoryEnd is the end of a link in memory.
type memoryEnd struct {
	once sync.Once
	done chan struct{}
	by   *Memory // the side that called Close; nil after Break
	err  error   // the error for the sides that did not call Close
}

func (e *memoryEnd) set(by *Memory, err error) {
	e.once.Do(func() {
		e.by, e.err = by, err
		close(e.done)
	})
}

// Pair makes a link in memory and returns its two sides. Like QUIC it keeps lanes
// independent of each other and blocks a sender whose receiver is too slow.
func Pair(dialer, acceptor ident.PeerID, path link.Path) (dialing, accepting *Memory) {
	return pair(dialer, acceptor, path, 0, laneCapacity)
}

// DistantPair makes a link in memory with a delay for each frame, for tests in virtual time.
func DistantPair(dialer, acceptor ident.PeerID, path link.Path, delay time.Duration) (dialing, accepting *Memory) {
	return pair(dialer, acceptor, path, delay, distantCapacity)
}

func pair(
	dialer, acceptor ident.PeerID, path link.Path, delay time.Duration, capacity int,
) (dialing, accepting *Memory) {
	end := &memoryEnd{done: make(chan struct{})}
	side := func(peer ident.PeerID, dialed bool) *Memory {
		return &Memory{
			info: link.Info{Peer: peer, Dialed: dialed, Path: path}, end: end,
			delay: delay, capacity: capacity, stats: link.Stats{RTT: 2 * delay},
			out:   make(map[tunnel.Lane]*memoryLane),
			added: make(chan *memoryLane, tunnel.MaxLanes),
		}
	}
	dialing, accepting = side(acceptor, true), side(dialer, false)
	dialing.peer, accepting.peer = accepting, dialing
	return dialing, accepting
}

// Break ends the link on both sides with an error, like a failed path. Frames
// that were not delivered yet are lost.
func (m *Memory) Break(err error) { m.end.set(nil, err) }

// Ended reports whether the link has ended.
func (m *Memory) Ended() bool {
	select {
	case <-m.end.done:
		return true
	default:
		return false
	}
}

// Info returns the peer and the path given to Pair. The first side that Pair
// returned is the one that dialed.
func (m *Memory) Info() link.Info { return m.info }

// Stats returns the bytes of all frames, and the round trip of a link with a delay.
func (m *Memory) Stats() link.Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

// Send hands a copy of the frame to the peer.
func (m *Memory) Send(f tunnel.Frame) error {
	if err := f.Check(); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	m.mu.Lock()
	lane, ok := m.out[f.Lane]
	if !ok {
		lane = &memoryLane{frames: make(chan memoryFrame, m.capacity), ended: make(chan struct{})}
		m.out[f.Lane] = lane
		select {
		case m.peer.added <- lane:
		default:
			m.mu.Unlock()
			return errors.New("too many lanes for which the peer has not called Run yet")
		}
	}
	m.mu.Unlock()
	for left := len(f.Body); left > 0; {
		left -= f.NextPart(left)
	}
	f.Body, f.Part = bytes.Clone(f.Body), nil
	select {
	case <-m.end.done:
		return m.endError()
	default:
	}
	select {
	case lane.frames <- memoryFrame{f, time.Now()}:
		m.count(func(s *link.Stats) *uint64 { return &s.BytesSent }, f)
		return nil
	case <-m.end.done:
		return m.endError()
	}
}

func (m *Memory) count(field func(*link.Stats) *uint64, f tunnel.Frame) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*field(&m.stats) += uint64(tunnel.HeaderSize + len(f.Body))
}

// EndLane forgets the lane. Its frames are still delivered.
func (m *Memory) EndLane(lane tunnel.Lane) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l, ok := m.out[lane]; ok {
		close(l.ended)
		delete(m.out, lane)
	}
}

// Run delivers frames until the link ends.
func (m *Memory) Run(ctx context.Context, deliver func(tunnel.Frame) error) error {
	stop := context.AfterFunc(ctx, func() { m.Close("") })
	defer stop()
	var lanes sync.WaitGroup
	defer lanes.Wait()
	failed := make(chan error, 1)
	for {
		select {
		case lane := <-m.added:
			lanes.Go(func() {
				if err := m.runLane(lane, deliver); err != nil {
					select {
					case failed <- err:
					default:
					}
					m.Close(err.Error())
				}
			})
		case <-m.end.done:
			lanes.Wait()
			select {
			case err := <-failed:
				return err
			default:
			}
			if m.end.by == m {
				return nil
			}
			return m.endError()
		}
	}
}

func (m *Memory) runLane(lane *memoryLane, deliver func(tunnel.Frame) error) error {
	for {
		select {
		case <-m.end.done:
			return nil
		case f := <-lane.frames:
			if !m.travel(f) {
				return nil
			}
			m.count(func(s *link.Stats) *uint64 { return &s.BytesReceived }, f.Frame)
			if err := deliver(f.Frame); err != nil {
				return err
			}
		case <-lane.ended:
			if len(lane.frames) == 0 { // frames before the end are delivered first
				return nil
			}
		}
	}
}

// travel waits until a frame has arrived. It returns false if the link ends first.
func (m *Memory) travel(f memoryFrame) bool {
	if m.delay == 0 {
		return true
	}
	timer := time.NewTimer(time.Until(f.sent.Add(m.delay)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-m.end.done:
		return false
	}
}

// Close ends the link on both sides.
func (m *Memory) Close(reason string) {
	m.end.set(m, &link.ClosedError{Reason: link.CleanReason(reason)})
}

// endError returns the error of this side after the end of the link.
func (m *Memory) endError() error {
	if m.end.by == m {
		return link.ErrClosed
	}
	return m.end.err
}

// LAN returns a path for tests in which the path does not matter.
func LAN() link.Path {
	return link.Path{Rank: link.RankHost, Transport: "memory", Local: "here", Remote: "there", Encrypted: true}
}
