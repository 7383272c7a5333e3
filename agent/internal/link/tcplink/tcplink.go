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

// Mode is how the connections are secured.
type Mode uint8

// The modes.
const (
	TLS   Mode = iota // mutual TLS 1.3
	Plain             // authenticated by the peers' keys, not encrypted
)

// String is the mode's name as in link.Path.Transport.
func (m Mode) String() string {
	if m == Plain {
		return "tcp"
	}
	return "tls"
}

// Rank is that of links in the mode.
func (m Mode) Rank() link.Rank {
	if m == Plain {
		return link.RankPlainTCP
	}
	return link.RankTLS
}

// smallFrame is the size above which a frame moves its lane to the bulk
// connection, in bytes of its body.
const smallFrame = 4 << 10

// tcpLink is a link.Link over two connections.
type tcpLink struct {
	// Static after construction.
	halves [roles]*half
	info   link.Info
	frames link.FrameReader
	done   chan struct{} // closed when the link has ended

	mu    sync.Mutex
	moved map[tunnel.Lane]struct{} // guarded by mu: lanes sent on the bulk connection
	ends  []byte                   // guarded by mu: recordEnds to go before all else on that connection
	in    map[tunnel.Lane]*crossing
	err   error // guarded by mu: why the link has ended; link.ErrClosed if this end closed it
}

// crossing is a lane that arrives on the bulk connection.
type crossing struct {
	moved chan struct{} // closed when its recordMove has come
	ended chan struct{} // closed when its recordEnd has
}

func newLink(mode Mode, halves [roles]*half, peer ident.PeerID, dialed bool) *tcpLink {
	first := halves[roleInteractive].wire
	return &tcpLink{
		halves: halves,
		info: link.Info{Peer: peer, Dialed: dialed, Path: link.Path{
			Rank: mode.Rank(), Transport: mode.String(), Encrypted: mode == TLS,
			Local: first.LocalAddr().String(), Remote: first.RemoteAddr().String(),
		}},
		done:  make(chan struct{}),
		moved: make(map[tunnel.Lane]struct{}),
		in:    make(map[tunnel.Lane]*crossing),
	}
}

func (l *tcpLink) Info() link.Info { return l.info }

func (l *tcpLink) Stats() link.Stats {
	var s link.Stats
	var sent, again uint64
	for r, h := range l.halves {
		s.BytesSent += h.wire.sent.Load()
		s.BytesReceived += h.wire.received.Load()
		k := kernelStats(h.wire.Conn)
		if role(r) == roleInteractive {
			s.RTT = k.rtt
		}
		sent, again = sent+k.segments, again+k.retransmitted
	}
	if sent > 0 {
		s.Loss = min(1, float64(again)/float64(sent))
	}
	return s
}

func (l *tcpLink) Send(f tunnel.Frame) error {
	if err := f.Check(); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	on, crosses := l.route(f)
	if crosses {
		if err := l.halves[roleInteractive].record(laneRecord(recordMove, f.Lane)); err != nil {
			return l.lost(err)
		}
	}
	before := func() []byte { return nil }
	if on == roleBulk {
		before = l.takeEnds
	}
	if err := l.halves[on].frame(f, before); err != nil {
		return l.lost(err)
	}
	return nil
}

// route says on which connection a frame goes, and whether its lane moves
// there with it.
func (l *tcpLink) route(f tunnel.Frame) (on role, crosses bool) {
	if f.Lane <= tunnel.LaneSession || f.Lane.Endpoint() == 0 {
		return roleInteractive, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.moved[f.Lane]; ok {
		return roleBulk, false
	}
	if len(f.Body) <= smallFrame || len(l.moved) >= tunnel.MaxLanes {
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
	if err := l.halves[roleBulk].tryRecord(l.takeEnds); err != nil {
		_ = l.fail(err) // told by Send and Run
	}
}

func (l *tcpLink) Run(ctx context.Context, deliver func(tunnel.Frame) error) error {
	stop := context.AfterFunc(ctx, func() { l.Close("") })
	defer stop()
	var workers sync.WaitGroup
	for r, h := range l.halves {
		h.wire.watched.Store(true)
		workers.Go(func() {
			err := l.read(role(r), h, deliver)
			if role(r) == roleBulk && networkError(err) {
				_ = l.lost(err)
				return
			}
			_ = l.fail(err)
		})
	}
	workers.Go(l.sayAlive)
	workers.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if errors.Is(l.err, link.ErrClosed) {
		return nil
	}
	return l.err
}

// sayAlive lets the other end tell a quiet link from a dead one.
func (l *tcpLink) sayAlive() {
	tick := time.NewTicker(aliveEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.done:
			return
		case <-tick.C:
		}
		for r, h := range l.halves {
			err := h.tryRecord(func() []byte {
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

// fail ends the link for a reason that this end found, and returns why it has
// ended, which may be an earlier reason.
func (l *tcpLink) fail(err error) error {
	switch closed, ok := errors.AsType[*link.ClosedError](err); {
	case ok:
		err = closed
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("%w: TCP to %s", link.ErrSilent, l.info.Path.Remote)
	case errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed):
		err = fmt.Errorf("TCP to %s: the other end closed the connection: %w", l.info.Path.Remote, err)
	}
	return l.end(err, err.Error())
}

// lost is fail for an error of the network. The other end may have said why
// on the interactive connection, which then is about to be read.
func (l *tcpLink) lost(err error) error {
	heard := time.NewTimer(lastWords)
	defer heard.Stop()
	select {
	case <-l.done:
	case <-heard.C:
	}
	return l.fail(err)
}

func networkError(err error) bool {
	_, ok := errors.AsType[*net.OpError](err)
	return ok || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// Close ends the link; the reason is sent if that can be done at once.
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
			h.shut(closeRecord(reason))
		} else {
			h.shut(nil)
		}
	}
	return err
}
