package linktest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// Make makes a link and returns its two sides. Run has not been called on them.
type Make func(t *testing.T) (dialer, acceptor link.Link)

// Run checks that a kind of link keeps the contract of [link.Link].
func Run(t *testing.T, connect Make) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, dialer, acceptor link.Link)
	}{
		{"describes itself", describesItself},
		{"keeps the order of every lane", keepsOrder},
		{"carries the largest frame", carriesLargest},
		{"passes a small frame while a bulk lane is blocked", passesBlockedLane},
		{"keeps order when a lane changes from small to large frames", keepsOrderWhenLaneGrows},
		{"ends and begins any number of lanes", endsLanes},
		{"carries lossy frames while a bulk lane is blocked", carriesLossy},
		{"refuses to send malformed frames", refusesMalformedFrames},
		{"ends on both sides when the dialer closes", func(t *testing.T, d, a link.Link) { closes(t, d, a) }},
		{"ends on both sides when the acceptor closes", func(t *testing.T, d, a link.Link) { closes(t, a, d) }},
		{"ends when deliver returns an error", endsWhenRefused},
		{"ends when the context of Run ends", endsWithContext},
	} {
		t.Run(c.name, func(t *testing.T) {
			dialer, acceptor := connect(t)
			t.Cleanup(func() { dialer.Close("the test is over"); acceptor.Close("the test is over") })
			c.test(t, dialer, acceptor)
		})
	}
}

func describesItself(t *testing.T, dialer, acceptor link.Link) {
	if !dialer.Info().Dialed || acceptor.Info().Dialed {
		t.Error("Info().Dialed is wrong on a side")
	}
	if dialer.Info().Peer.IsZero() || acceptor.Info().Peer.IsZero() || dialer.Info().Peer == acceptor.Info().Peer {
		t.Errorf("the peers are %s and %s", dialer.Info().Peer, acceptor.Info().Peer)
	}
	d, a := dialer.Info().Path, acceptor.Info().Path
	if d.Rank != a.Rank || d.Transport == "" || d.Local == "" || d.Remote == "" {
		t.Errorf("paths: %+v and %+v", d, a)
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
	toAcceptor.wait(t, acceptorEnded)
	toDialer.wait(t, dialerEnded)
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
	e.wait(t, ended)
}

func passesBlockedLane(t *testing.T, dialer, acceptor link.Link) {
	const bulkFrame, most = 64 << 10, 256 << 20
	bulk, blocked := tunnel.EndpointLane(1, 0x02), make(chan struct{})
	release := sync.OnceFunc(func() { close(blocked) })
	defer release()
	passed := make(chan tunnel.Frame, 1)
	Start(t, acceptor, func(f tunnel.Frame) error {
		if f.Lane == bulk {
			<-blocked
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
	waitBlocked(t, &sent, most)
	if err := dialer.Send(Frame(tunnel.LaneSession, 1, 100)); err != nil {
		t.Fatal(err)
	}
	Within(t, passed, "a small frame to pass a blocked bulk lane")
	serial := Frame(tunnel.EndpointLane(2, 0x02), 1, 10<<10)
	serial.Class = tunnel.ClassSerial
	if err := dialer.Send(serial); err != nil {
		t.Fatal(err)
	}
	Within(t, passed, "serial data to pass a blocked bulk lane")
}

// carriesLossy sends lossy frames of the largest size one by one. The paths of the
// tests lose none.
func carriesLossy(t *testing.T, dialer, acceptor link.Link) {
	lossy, bulk := tunnel.EndpointLane(1, 0x81), tunnel.EndpointLane(1, 0x02)
	blocked := make(chan struct{})
	release := sync.OnceFunc(func() { close(blocked) })
	arrived := make(chan tunnel.Frame, 64)
	Start(t, acceptor, func(f tunnel.Frame) error {
		if f.Lane == bulk {
			<-blocked
			return nil
		}
		arrived <- f
		return nil
	})
	t.Cleanup(release)
	Start(t, dialer, ignore)
	if err := dialer.Send(Frame(bulk, 1, 64<<10)); err != nil {
		t.Fatal(err)
	}
	body := Frame(lossy, 1, tunnel.MaxLossy).Body
	for n := range byte(20) {
		body[0] = n
		f := tunnel.Frame{Lane: lossy, Kind: tunnel.KindShard, Body: body}
		if err := dialer.Send(f); err != nil {
			t.Fatal(err)
		}
		got := Within(t, arrived, "a lossy frame")
		if got.Lane != lossy || got.Kind != f.Kind || got.Seq != 0 || !bytes.Equal(got.Body, body) {
			t.Errorf("frame %d arrived as kind %d on lane %#x", n, got.Kind, uint32(got.Lane))
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
				f := Frame(lane, seq+1, size)
				f.Class = tunnel.Class(i % tunnel.Classes)
				f.Part = func(left int) int { return min(left, 5000) }
				if err := dialer.Send(f); err != nil {
					t.Errorf("send: %v", err)
					return
				}
			}
		})
	}
	senders.Wait()
	e.wait(t, ended)
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
	e.wait(t, ended)
}

func refusesMalformedFrames(t *testing.T, dialer, acceptor link.Link) {
	e := expect(1)
	ended := Start(t, acceptor, e.deliver)
	Start(t, dialer, ignore)
	lane := tunnel.EndpointLane(1, 0x81)
	for name, f := range map[string]tunnel.Frame{
		"too large":          Frame(lane, 1, tunnel.MaxFrame+1),
		"unknown lane":       Frame(0x50, 1, 1),
		"without number":     Frame(lane, 0, 1),
		"lossy, with number": {Lane: lane, Seq: 1, Kind: tunnel.KindShard},
		"lossy, too large":   {Lane: lane, Kind: tunnel.KindShard, Body: make([]byte, tunnel.MaxLossy+1)},
	} {
		if err := dialer.Send(f); !errors.Is(err, tunnel.ErrMalformed) {
			t.Errorf("%s: error %v, want %v", name, err, tunnel.ErrMalformed)
		}
	}
	if err := dialer.Send(Frame(lane, 1, 1)); err != nil {
		t.Fatalf("a good frame after malformed ones: %v", err)
	}
	e.wait(t, ended)
}

func closes(t *testing.T, closer, peer link.Link) {
	blocked := make(chan struct{})
	release := sync.OnceFunc(func() { close(blocked) })
	block := func(tunnel.Frame) error { <-blocked; return nil }
	closerEnded, peerEnded := Start(t, closer, block), Start(t, peer, block)
	t.Cleanup(release)
	sends := make(chan error, 2)
	var sent atomic.Int64
	for _, from := range []link.Link{closer, peer} {
		go func() {
			var err error
			for seq := uint64(1); err == nil; seq++ {
				err = from.Send(Frame(tunnel.EndpointLane(3, 0x01), seq, 256<<10))
				sent.Add(256 << 10)
			}
			sends <- err
		}()
	}
	waitBlocked(t, &sent, 512<<20)
	closer.Close("enough\x1b[2J")
	closer.Close("again")
	Within(t, sends, "a blocked Send to return")
	Within(t, sends, "the other blocked Send to return")
	release()
	if err := Within(t, closerEnded, "Run of the closing side"); err != nil {
		t.Errorf("Run of the closing side: %v", err)
	}
	err := Within(t, peerEnded, "Run of the peer")
	if err == nil {
		t.Error("Run of the peer returned no error")
	}
	if closed, ok := errors.AsType[*link.ClosedError](err); ok && closed.Reason != "enough[2J" {
		t.Errorf("the reason arrived as %q", closed.Reason)
	}
	for _, l := range []link.Link{closer, peer} {
		if l.Send(Frame(tunnel.LaneSession, 1, 1)) == nil {
			t.Error("Send returned no error after the link ended")
		}
	}
}

var errRefused = errors.New("unwanted frame")

func endsWhenRefused(t *testing.T, dialer, acceptor link.Link) {
	ended := Start(t, acceptor, func(tunnel.Frame) error { return errRefused })
	peerEnded := Start(t, dialer, ignore)
	if err := dialer.Send(Frame(tunnel.LaneSession, 1, 10)); err != nil {
		t.Fatal(err)
	}
	if err := Within(t, ended, "Run of the refusing side"); !errors.Is(err, errRefused) {
		t.Errorf("Run of the refusing side: %v", err)
	}
	err := Within(t, peerEnded, "Run of the peer")
	if closed, ok := errors.AsType[*link.ClosedError](err); !ok || closed.Reason != errRefused.Error() {
		t.Errorf("Run of the peer: %v", err)
	}
}

func endsWithContext(t *testing.T, dialer, acceptor link.Link) {
	peerEnded := Start(t, dialer, ignore)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- acceptor.Run(ctx, ignore) }()
	cancel()
	if err := Within(t, ended, "Run with an ended context"); err != nil {
		t.Errorf("Run with an ended context: %v", err)
	}
	if err := Within(t, peerEnded, "Run of the peer"); err == nil {
		t.Error("Run of the peer returned no error")
	}
}
