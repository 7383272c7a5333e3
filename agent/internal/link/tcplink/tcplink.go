package tcplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// Mode is a way to secure the connections.
type Mode uint8

// The modes.
const (
	TLS   Mode = iota // mutual TLS 1.3
	Plain             // authenticated by the peers' keys, not encrypted
)

// String returns the mode's name, as in link.Path.Transport.
func (m Mode) String() string {
	if m == Plain {
		return "tcp"
	}
	return "tls"
}

// Rank returns the rank of links in the mode.
func (m Mode) Rank() link.Rank {
	if m == Plain {
		return link.RankPlainTCP
	}
	return link.RankTLS
}

// The largest body, in bytes, of a frame that does not move its lane to the bulk
// connection. Frames of more urgent lanes must not wait behind a disk's data, but a
// key press must not wait long behind them either.
const (
	maxSmallFrame  = 4 << 10
	maxUrgentFrame = 16 << 10 // of a lane that is not of tunnel.ClassBulk
)

// maxUnsent bounds the bytes, in addition to one write, that wait in the kernel of
// the sender until the path takes them. No frame overtakes them there.
var maxUnsent = [roles]int{roleInteractive: 16 << 10, roleBulk: 256 << 10}

// tcpLink is a link.Link over two connections.
type tcpLink struct {
	// Static after construction.
	halves [roles]*half
	info   link.Info
	frames link.FrameReader
	done   chan struct{} // closed when the link has ended

	mu    sync.Mutex
	moved map[tunnel.Lane]struct{}  // guarded by mu: lanes that are sent on the bulk connection
	ends  []byte                    // guarded by mu: recordEnds to be sent first on that connection
	in    map[tunnel.Lane]*bulkLane // guarded by mu
	err   error                     // guarded by mu: the error that ended the link; link.ErrClosed after Close
}

// bulkLane is a lane that arrives on the bulk connection.
type bulkLane struct {
	moved chan struct{} // closed when its recordMove has arrived
	ended chan struct{} // closed when its recordEnd has arrived
}

func newLink(mode Mode, halves [roles]*half, peer ident.PeerID, dialed bool) *tcpLink {
	raw := halves[roleInteractive].raw
	for r, h := range halves {
		limitUnsent(h.raw.Conn, maxUnsent[r])
	}
	return &tcpLink{
		halves: halves,
		info: link.Info{Peer: peer, Dialed: dialed, Path: link.Path{
			Rank: mode.Rank(), Transport: mode.String(), Encrypted: mode == TLS,
			Local: raw.LocalAddr().String(), Remote: raw.RemoteAddr().String(),
		}},
		done:  make(chan struct{}),
		moved: make(map[tunnel.Lane]struct{}),
		in:    make(map[tunnel.Lane]*bulkLane),
	}
}

func (l *tcpLink) Info() link.Info { return l.info }

func (l *tcpLink) Stats() link.Stats {
	var s link.Stats
	var sent, retransmitted uint64
	for r, h := range l.halves {
		s.BytesSent += h.raw.sent.Load()
		s.BytesReceived += h.raw.received.Load()
		k := kernelStats(h.raw.Conn)
		if role(r) == roleInteractive {
			s.RTT = k.rtt
		}
		if s.MinRTT == 0 || k.minRTT > 0 && k.minRTT < s.MinRTT {
			s.MinRTT = k.minRTT
		}
		s.Rate = max(s.Rate, k.rate)
		sent, retransmitted = sent+k.segments, retransmitted+k.retransmitted
	}
	if sent > 0 {
		s.Loss = min(1, float64(retransmitted)/float64(sent))
	}
	return s
}

func (l *tcpLink) Send(f tunnel.Frame) error {
	if err := f.Check(); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	on, moves := l.route(f)
	if moves {
		if err := l.halves[roleInteractive].writeRecord(laneRecord(recordMove, f.Lane)); err != nil {
			return l.failNetwork(err)
		}
	}
	before := func() []byte { return nil }
	if on == roleBulk {
		before = l.takeEnds
	}
	if err := l.halves[on].writeFrame(f, before); err != nil {
		return l.failNetwork(err)
	}
	return nil
}

// route returns the connection for a frame, and whether the frame moves its
// lane there.
func (l *tcpLink) route(f tunnel.Frame) (on role, moves bool) {
	if f.Lane <= tunnel.LaneSession || f.Lane.Endpoint() == 0 || f.Kind.Lossy() {
		return roleInteractive, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.moved[f.Lane]; ok {
		return roleBulk, false
	}
	largest := maxSmallFrame
	if f.Class > tunnel.ClassBulk {
		largest = maxUrgentFrame
	}
	if len(f.Body) <= largest || len(l.moved) >= tunnel.MaxLanes {
		return roleInteractive, false
	}
	l.moved[f.Lane] = struct{}{}
	return roleBulk, true
}

func (l *tcpLink) takeEnds() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	ends := l.ends
	l.ends = nil
	return ends
}

func (l *tcpLink) EndLane(lane tunnel.Lane) {
	l.mu.Lock()
	_, ok := l.moved[lane]
	delete(l.moved, lane)
	if ok {
		l.ends = append(l.ends, laneRecord(recordEnd, lane)...)
	}
	l.mu.Unlock()
	if !ok {
		return
	}
	if err := l.halves[roleBulk].tryWriteRecord(l.takeEnds); err != nil {
		_ = l.fail(err) // Send and Run return it
	}
}

func (l *tcpLink) Run(ctx context.Context, deliver func(tunnel.Frame) error) error {
	stop := context.AfterFunc(ctx, func() { l.Close("") })
	defer stop()
	var workers sync.WaitGroup
	for r, h := range l.halves {
		h.raw.watched.Store(true)
		workers.Go(func() {
			err := l.read(role(r), h, deliver)
			if role(r) == roleBulk && networkError(err) {
				_ = l.failNetwork(err)
				return
			}
			_ = l.fail(err)
		})
	}
	workers.Go(l.sendProbes)
	workers.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if errors.Is(l.err, link.ErrClosed) {
		return nil
	}
	return l.err
}

// sendProbes sends a record on each connection every link.TCPProbeInterval,
// until the link ends.
func (l *tcpLink) sendProbes() {
	tick := time.NewTicker(link.TCPProbeInterval)
	defer tick.Stop()
	for {
		select {
		case <-l.done:
			return
		case <-tick.C:
		}
		for r, h := range l.halves {
			err := h.tryWriteRecord(func() []byte {
				if role(r) == roleBulk {
					return append(l.takeEnds(), byte(recordAlive))
				}
				return []byte{byte(recordAlive)}
			})
			if err != nil {
				_ = l.fail(err)
				return
			}
		}
	}
}

// fail ends the link with an error, which the peer receives as the reason. It
// returns the error that ended the link, which may be an earlier one.
func (l *tcpLink) fail(err error) error {
	switch closed, ok := errors.AsType[*link.ClosedError](err); {
	case ok:
		err = closed
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("%w: TCP to %s", link.ErrSilent, l.info.Path.Remote)
	case errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed):
		err = fmt.Errorf("TCP to %s: the peer closed the connection: %w", l.info.Path.Remote, err)
	}
	return l.end(err, err.Error())
}

// failNetwork calls fail for an error of the network. First it waits a moment:
// the peer may have sent a reason, which the reader of the interactive connection
// is about to read.
func (l *tcpLink) failNetwork(err error) error {
	timeout := time.NewTimer(closeTimeout)
	defer timeout.Stop()
	select {
	case <-l.done:
	case <-timeout.C:
	}
	return l.fail(err)
}

func networkError(err error) bool {
	_, ok := errors.AsType[*net.OpError](err)
	return ok || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// Close ends the link. It sends the reason if the connection takes it at once.
func (l *tcpLink) Close(reason string) { _ = l.end(link.ErrClosed, reason) }

func (l *tcpLink) end(err error, reason string) error {
	l.mu.Lock()
	if l.err != nil {
		defer l.mu.Unlock()
		return l.err
	}
	l.err = err
	close(l.done)
	l.mu.Unlock()
	for r, h := range l.halves {
		if role(r) == roleInteractive {
			h.close(closeRecord(reason))
		} else {
			h.close(nil)
		}
	}
	return err
}
