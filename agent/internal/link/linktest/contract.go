package linktest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// Patience is how long tests wait for what must happen.
const Patience = 20 * time.Second

// Make makes a link and returns its two ends, on neither of which Run has been
// called.
type Make func(t *testing.T) (dialer, acceptor link.Link)

// Run holds a kind of link to the contract of [link.Link].
func Run(t *testing.T, connect Make) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, dialer, acceptor link.Link)
	}{
		{"says what it is", describesItself},
		{"keeps the order of every lane, whatever the others do", keepsOrder},
		{"carries the largest frame", carriesLargest},
		{"lets a small frame pass while a bulk lane is held up", passesHeldLane},
		{"keeps order where a lane turns from small frames to large ones", keepsOrderWhenLaneGrows},
		{"ends lanes and begins others without limit", endsLanes},
		{"refuses to send what is no frame", refusesNonsense},
		{"ends both ends when the dialer closes", func(t *testing.T, d, a link.Link) { closes(t, d, a) }},
		{"ends both ends when the acceptor closes", func(t *testing.T, d, a link.Link) { closes(t, a, d) }},
		{"ends when a frame is refused", endsWhenRefused},
		{"ends when Run's context does", endsWithContext},
	} {
		t.Run(c.name, func(t *testing.T) {
			dialer, acceptor := connect(t)
			t.Cleanup(func() { dialer.Close("the test is over"); acceptor.Close("the test is over") })
			c.test(t, dialer, acceptor)
		})
	}
}

// Context is over after Patience, or with the test.
func Context(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// Serve has the side that accepts links run until the test ends, and wants no
// error of it.
func Serve(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := Within(t, ended, "the accepting side to stop"); err != nil {
			t.Errorf("the accepting side stopped: %v", err)
		}
	})
}

// Start runs an end in the background until the test ends, and returns the
// channel on which Run's error comes.
func Start(t *testing.T, l link.Link, deliver func(tunnel.Frame) error) <-chan error {
	t.Helper()
	ended := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended <- l.Run(context.Background(), deliver)
	}()
	t.Cleanup(func() {
		l.Close("the test is over")
		<-done
	})
	return ended
}

// Within waits for a value, and fails the test if it does not come in time.
func Within[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(Patience):
		t.Fatalf("%s: not within %v", what, Patience)
		panic("unreachable")
	}
}

// ignore delivers into the void.
func ignore(tunnel.Frame) error { return nil }

// Frame is one of n bytes on an endpoint's lane or lane 1, with contents that
// belong to it alone.
func Frame(lane tunnel.Lane, seq uint64, n int) tunnel.Frame {
	kind := tunnel.KindSubmit
	if lane == tunnel.LaneSession {
		kind = tunnel.KindDevices
	}
	mark := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, uint32(lane)), seq)
	return tunnel.Frame{Lane: lane, Seq: seq, Kind: kind, Body: bytes.Repeat(mark, n/len(mark)+1)[:n]}
}

func same(f tunnel.Frame) error {
	want := Frame(f.Lane, f.Seq, len(f.Body))
	if f.Kind != want.Kind || !bytes.Equal(f.Body, want.Body) {
		return fmt.Errorf("frame %d of lane %#x arrived changed", f.Seq, uint32(f.Lane))
	}
	return nil
}

func describesItself(t *testing.T, dialer, acceptor link.Link) {
	if !dialer.Info().Dialed || acceptor.Info().Dialed {
		t.Error("the ends do not know which of them dialed")
	}
	if dialer.Info().Peer.IsZero() || acceptor.Info().Peer.IsZero() || dialer.Info().Peer == acceptor.Info().Peer {
		t.Errorf("the ends say that they talk to %s and %s", dialer.Info().Peer, acceptor.Info().Peer)
	}
	if d, a := dialer.Info().Path, acceptor.Info().Path; d.Rank != a.Rank || d.Transport == "" || d.Local == "" || d.Remote == "" {
		t.Errorf("paths: %+v and %+v", d, a)
	}
}

// expectation counts frames as they come and checks order and contents.
type expectation struct {
	mu   sync.Mutex
	next map[tunnel.Lane]uint64
	left int
	all  chan struct{}
}

func expect(n int) *expectation {
	return &expectation{next: make(map[tunnel.Lane]uint64), left: n, all: make(chan struct{})}
}

func (e *expectation) deliver(f tunnel.Frame) error {
	if err := same(f); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.next[f.Lane]++; f.Seq != e.next[f.Lane] {
		return fmt.Errorf("lane %#x: frame %d arrived where %d was due", uint32(f.Lane), f.Seq, e.next[f.Lane])
	}
	if e.left--; e.left == 0 {
		close(e.all)
	}
	return nil
}

// arrived waits until everything has.
func (e *expectation) arrived(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case <-e.all:
	case err := <-ended:
		t.Fatalf("the link ended: %v", err)
	case <-time.After(Patience):
		e.mu.Lock()
		defer e.mu.Unlock()
		t.Fatalf("%d frames have not arrived within %v", e.left, Patience)
	}
}

func keepsOrder(t *testing.T, dialer, acceptor link.Link) {
	const lanes, frames = 24, 60
	toAcceptor, toDialer := expect(lanes*frames), expect(lanes*frames)
	acceptorEnded := Start(t, acceptor, toAcceptor.deliver)
	dialerEnded := Start(t, dialer, toDialer.deliver)
	var senders sync.WaitGroup
	for _, from := range []link.Link{dialer, acceptor} {
		for i := range lanes {
			senders.Go(func() {
				lane := tunnel.EndpointLane(uint16(1+i/8), uint8(i%8))
				for seq := range uint64(frames) {
					if err := from.Send(Frame(lane, seq+1, int(seq)*i*37%20_000)); err != nil {
						t.Errorf("send on lane %#x: %v", uint32(lane), err)
						return
					}
				}
			})
		}
	}
	senders.Wait()
	toAcceptor.arrived(t, acceptorEnded)
	toDialer.arrived(t, dialerEnded)
}

func carriesLargest(t *testing.T, dialer, acceptor link.Link) {
	e := expect(2)
	ended := Start(t, acceptor, e.deliver)
	Start(t, dialer, ignore)
	lane := tunnel.EndpointLane(1, 0x81)
	for seq := range uint64(2) {
		if err := dialer.Send(Frame(lane, seq+1, tunnel.MaxFrame)); err != nil {
			t.Fatal(err)
		}
	}
	e.arrived(t, ended)
}

func passesHeldLane(t *testing.T, dialer, acceptor link.Link) {
	const bulkFrame, most = 64 << 10, 256 << 20
	bulk, hold := tunnel.EndpointLane(1, 0x02), make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	passed := make(chan tunnel.Frame, 1)
	Start(t, acceptor, func(f tunnel.Frame) error {
		if f.Lane == bulk {
			<-hold
			return nil
		}
		passed <- f
		return nil
	})
	t.Cleanup(release) // before Start's cleanup waits for Run
	Start(t, dialer, ignore)
	var sent atomic.Int64
	go func() {
		for seq := uint64(1); dialer.Send(Frame(bulk, seq, bulkFrame)) == nil; seq++ {
			sent.Add(bulkFrame)
		}
	}()
	stuck(t, &sent, most)
	if err := dialer.Send(Frame(tunnel.LaneSession, 1, 100)); err != nil {
		t.Fatal(err)
	}
	Within(t, passed, "a small frame beside a lane that is held up")
}

// stuck waits until a sender has made no progress for a while, and fails if it
// sends more than most bytes to a receiver that takes none.
func stuck(t *testing.T, sent *atomic.Int64, most int64) {
	t.Helper()
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for before, same := int64(-1), 0; same < 5; {
		<-look.C
		now := sent.Load()
		if now > most {
			t.Fatalf("the sender was never held up: %d bytes sent", now)
		}
		if same++; now != before {
			before, same = now, 0
		}
	}
}

func keepsOrderWhenLaneGrows(t *testing.T, dialer, acceptor link.Link) {
	const lanes, frames = 6, 40
	e := expect(lanes * frames)
	ended := Start(t, acceptor, e.deliver)
	Start(t, dialer, ignore)
	var senders sync.WaitGroup
	for i := range lanes {
		senders.Go(func() {
			lane := tunnel.EndpointLane(7, uint8(0x81+i))
			for seq := range uint64(frames) {
				size := 31
				if seq%4 == 3 {
					size = 64 << 10
				}
				if err := dialer.Send(Frame(lane, seq+1, size)); err != nil {
					t.Errorf("send: %v", err)
					return
				}
			}
		})
	}
	senders.Wait()
	e.arrived(t, ended)
}

func endsLanes(t *testing.T, dialer, acceptor link.Link) {
	const lanes = tunnel.MaxLanes + 1000
	e := expect(2 * lanes)
	ended := Start(t, acceptor, e.deliver)
	Start(t, dialer, ignore)
	for i := range lanes {
		lane := tunnel.EndpointLane(uint16(1+i/16), uint8(i%16))
		for seq := range uint64(2) {
			size := 20
			if i%8 == 7 {
				size = 5000 // a bulk lane
			}
			if err := dialer.Send(Frame(lane, seq+1, size)); err != nil {
				t.Fatalf("lane %d: %v", i, err)
			}
		}
		dialer.EndLane(lane)
	}
	dialer.EndLane(tunnel.EndpointLane(9999, 1)) // never used
	e.arrived(t, ended)
}

func refusesNonsense(t *testing.T, dialer, acceptor link.Link) {
	e := expect(1)
	ended := Start(t, acceptor, e.deliver)
	Start(t, dialer, ignore)
	lane := tunnel.EndpointLane(1, 0x81)
	for what, f := range map[string]tunnel.Frame{
		"too large": Frame(lane, 1, tunnel.MaxFrame+1),
		"no lane":   Frame(0x50, 1, 1),
		"no number": Frame(lane, 0, 1),
	} {
		if err := dialer.Send(f); !errors.Is(err, tunnel.ErrMalformed) {
			t.Errorf("%s: sent, or failed otherwise: %v", what, err)
		}
	}
	if err := dialer.Send(Frame(lane, 1, 1)); err != nil {
		t.Fatalf("after what was refused: %v", err)
	}
	e.arrived(t, ended)
}

func closes(t *testing.T, closer, other link.Link) {
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	block := func(tunnel.Frame) error { <-hold; return nil }
	closerEnded, otherEnded := Start(t, closer, block), Start(t, other, block)
	t.Cleanup(release)
	sends := make(chan error, 2)
	var sent atomic.Int64
	for _, from := range []link.Link{closer, other} {
		go func() {
			var err error
			for seq := uint64(1); err == nil; seq++ {
				err = from.Send(Frame(tunnel.EndpointLane(3, 0x01), seq, 256<<10))
				sent.Add(256 << 10)
			}
			sends <- err
		}()
	}
	stuck(t, &sent, 512<<20)
	closer.Close("enough\x1b[2J")
	closer.Close("again")
	Within(t, sends, "a blocked Send to end")
	Within(t, sends, "the other blocked Send to end")
	release()
	if err := Within(t, closerEnded, "Run at the end that closed"); err != nil {
		t.Errorf("Run at the end that closed: %v", err)
	}
	err := Within(t, otherEnded, "Run at the other end")
	if err == nil {
		t.Error("Run at the other end gave no reason")
	}
	if closed, ok := errors.AsType[*link.ClosedError](err); ok && closed.Reason != "enough[2J" {
		t.Errorf("the reason arrived as %q", closed.Reason)
	}
	for _, l := range []link.Link{closer, other} {
		if l.Send(Frame(tunnel.LaneSession, 1, 1)) == nil {
			t.Error("Send works on a link that has ended")
		}
	}
}

var errRefused = errors.New("not a frame for me")

func endsWhenRefused(t *testing.T, dialer, acceptor link.Link) {
	ended := Start(t, acceptor, func(tunnel.Frame) error { return errRefused })
	otherEnded := Start(t, dialer, ignore)
	if err := dialer.Send(Frame(tunnel.LaneSession, 1, 10)); err != nil {
		t.Fatal(err)
	}
	if err := Within(t, ended, "Run where a frame was refused"); !errors.Is(err, errRefused) {
		t.Errorf("Run where a frame was refused: %v", err)
	}
	err := Within(t, otherEnded, "Run at the other end")
	if closed, ok := errors.AsType[*link.ClosedError](err); !ok || closed.Reason != errRefused.Error() {
		t.Errorf("the other end is told: %v", err)
	}
}

func endsWithContext(t *testing.T, dialer, acceptor link.Link) {
	otherEnded := Start(t, dialer, ignore)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- acceptor.Run(ctx, ignore) }()
	cancel()
	if err := Within(t, ended, "Run whose context ended"); err != nil {
		t.Errorf("Run whose context ended: %v", err)
	}
	if err := Within(t, otherEnded, "Run at the other end"); err == nil {
		t.Error("Run at the other end gave no reason")
	}
}
