package linktest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// Timeout bounds the waits of the tests.
const Timeout = waittest.Timeout

// Context returns a context that ends after Timeout or with the test.
func Context(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	t.Cleanup(cancel)
	return ctx
}

// Serve calls run, which accepts links, in the background until the test ends.
// The test fails if run returns an error.
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

// Start calls l.Run in the background until the test ends. It returns a channel
// that receives the error of Run.
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

// Within returns the next value of a channel. The test fails if none comes
// within Timeout.
func Within[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(Timeout):
		t.Fatalf("%s: not within %v", what, Timeout)
		panic("unreachable")
	}
}

// ignore delivers frames to nobody.
func ignore(tunnel.Frame) error { return nil }

// Frame returns a frame with a body of n bytes for the lane of an endpoint or
// for tunnel.LaneSession. The body depends on lane and number, so that
// checkBody can verify it.
func Frame(lane tunnel.Lane, seq uint64, n int) tunnel.Frame {
	kind := tunnel.KindSubmit
	if lane == tunnel.LaneSession {
		kind = tunnel.KindDevices
	}
	mark := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, uint32(lane)), seq)
	return tunnel.Frame{Lane: lane, Seq: seq, Kind: kind, Body: bytes.Repeat(mark, n/len(mark)+1)[:n]}
}

// checkBody returns an error if a frame is not one that Frame returns.
func checkBody(f tunnel.Frame) error {
	want := Frame(f.Lane, f.Seq, len(f.Body))
	if f.Kind != want.Kind || !bytes.Equal(f.Body, want.Body) {
		return fmt.Errorf("frame %d of lane %#x arrived changed", f.Seq, uint32(f.Lane))
	}
	return nil
}

// expectation counts the frames that arrive and checks order and bodies.
type expectation struct {
	mu   sync.Mutex
	last map[tunnel.Lane]uint64 // guarded by mu: the number of the last frame
	left int                    // guarded by mu
	all  chan struct{}          // closed when all frames have arrived
}

// expect returns an expectation of n frames, numbered from 1 on each lane.
func expect(n int) *expectation {
	return &expectation{last: make(map[tunnel.Lane]uint64), left: n, all: make(chan struct{})}
}

func (e *expectation) deliver(f tunnel.Frame) error {
	if err := checkBody(f); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last[f.Lane]++; f.Seq != e.last[f.Lane] {
		return fmt.Errorf("lane %#x: frame %d arrived, want %d", uint32(f.Lane), f.Seq, e.last[f.Lane])
	}
	if e.left--; e.left == 0 {
		close(e.all)
	}
	return nil
}

// wait waits until all frames have arrived. The test fails if the link ends
// first.
func (e *expectation) wait(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case <-e.all:
	case err := <-ended:
		t.Fatalf("the link ended: %v", err)
	case <-time.After(Timeout):
		e.mu.Lock()
		defer e.mu.Unlock()
		t.Fatalf("%d frames did not arrive within %v", e.left, Timeout)
	}
}

// waitBlocked waits until a sender whose receiver takes nothing makes no more
// progress. The test fails if the sender sends more than most bytes.
func waitBlocked(t *testing.T, sent *atomic.Int64, most int64) {
	t.Helper()
	const unchanged = 100 // evaluations in a row
	before, same := int64(-1), 0
	waittest.Until(t, "the sender blocks", func() bool {
		now := sent.Load()
		if now > most {
			t.Fatalf("the sender sent %d bytes and did not block", now)
		}
		if same++; now != before {
			before, same = now, 0
		}
		return same == unchanged
	})
}
