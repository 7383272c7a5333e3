package session

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// hostilePeer is a peer that a test controls. It numbers its frames, and sends only what the test makes it send.
type hostilePeer struct {
	t    *testing.T
	s    *Session
	stop func()
	side *cableEnd

	mu   sync.Mutex
	seq  map[tunnel.Lane]uint64
	seen []tunnel.Frame
}

// newHostilePeer returns a hostile peer that is linked with a session.
func newHostilePeer(t *testing.T, c Config) *hostilePeer {
	c.Local, c.Remote, c.Logger = peerID(1), peerID(2), quiet
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cable := newCable(newRand(1), peerID(1), peerID(2), link.RankHost, -1)
	r := &hostilePeer{t: t, s: s, side: cable.ends[1], seq: make(map[tunnel.Lane]uint64)}
	var done sync.WaitGroup
	done.Go(func() { _ = s.Run(ctx) })
	done.Go(func() { _ = r.side.Run(ctx, r.take) })
	s.Join(cable.ends[0])
	r.stop = func() { cancel(); done.Wait() }
	return r
}

func (r *hostilePeer) take(f tunnel.Frame) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, f)
	return nil
}

func (r *hostilePeer) hello() {
	r.send(tunnel.LaneLink, tunnel.KindHello, tunnel.Hello{Version: tunnel.Version, Incarnation: 77}.Encode())
	synctest.Wait()
}

// send sends the next frame of a lane. It ignores an error: the session may have closed the link, as it should.
func (r *hostilePeer) send(lane tunnel.Lane, kind tunnel.Kind, body []byte) {
	f := tunnel.Frame{Lane: lane, Kind: kind, Body: body}
	if lane != tunnel.LaneLink {
		r.seq[lane]++
		f.Seq = r.seq[lane]
	}
	_ = r.side.Send(f)
}

// frames returns the bodies of all frames of a kind that have arrived.
func (r *hostilePeer) frames(kind tunnel.Kind) (bodies [][]byte) {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.seen {
		if f.Kind == kind {
			bodies = append(bodies, f.Body)
		}
	}
	return bodies
}

// client makes the session attach a device that the hostile peer claims to have.
func (r *hostilePeer) client() *remoteDevice {
	r.t.Helper()
	r.hello()
	var dev usb.Device
	var err error
	var attach sync.WaitGroup
	attach.Go(func() { dev, err = r.s.Attach(context.Background(), tunnel.Attach{Device: "x"}) })
	a, _ := tunnel.DecodeAttach(r.frames(tunnel.KindAttach)[0])
	device := tunnel.Device{ID: "x", Descriptors: modelDescriptors()}
	reply := tunnel.AttachReply{Attachment: a.Attachment, Device: device}
	r.send(tunnel.LaneSession, tunnel.KindAttached, reply.Encode())
	attach.Wait()
	if err != nil {
		r.t.Fatal(err)
	}
	return dev.(*remoteDevice)
}

func TestHostileCompletions(t *testing.T) {
	iso := []usb.IsoPacket{{Offset: 0, Length: 50}, {Offset: 50, Length: 50}}
	for name, c := range map[string]struct {
		endpoint usb.Endpoint
		packets  []usb.IsoPacket
		answer   tunnel.Complete // URB 0 stands for the number of the URB
		lane     usb.Endpoint    // 0: that of the URB
	}{
		"more than requested": {endpoint: epBulkIn, answer: tunnel.Complete{Actual: 101, Data: make([]byte, 101)}},
		"packets for bulk":    {endpoint: epBulkIn, answer: tunnel.Complete{Packets: make([]tunnel.PacketResult, 3)}},
		"too many packets": {endpoint: epIsoIn, packets: iso, answer: tunnel.Complete{
			Packets: make([]tunnel.PacketResult, 3),
		}},
		"too few packets": {endpoint: epIsoIn, packets: iso, answer: tunnel.Complete{
			Packets: make([]tunnel.PacketResult, 1),
		}},
		"a packet that is too long": {endpoint: epIsoIn, packets: iso, answer: tunnel.Complete{
			Actual: 51, Data: make([]byte, 51), Packets: []tunnel.PacketResult{{Actual: 51}, {}},
		}},
		"packets with another sum": {endpoint: epIsoIn, packets: iso, answer: tunnel.Complete{
			Actual: 40, Data: make([]byte, 40), Packets: []tunnel.PacketResult{{Actual: 50}, {}},
		}},
		"data for OUT":          {endpoint: epBulkOut, answer: tunnel.Complete{Actual: 1, Data: []byte{1}}},
		"more sent than given":  {endpoint: epBulkOut, answer: tunnel.Complete{Actual: 101}},
		"no data for IN":        {endpoint: epBulkIn, answer: tunnel.Complete{Actual: 5}},
		"a positive status":     {endpoint: epBulkIn, answer: tunnel.Complete{Status: 5}},
		"no error of Linux":     {endpoint: epBulkIn, answer: tunnel.Complete{Status: -5000}},
		"errors in no packets":  {endpoint: epBulkIn, answer: tunnel.Complete{Errors: 1}},
		"an unknown URB":        {endpoint: epBulkIn, answer: tunnel.Complete{URB: 99}},
		"on another lane":       {endpoint: epBulkIn, lane: epBulkOut},
		"on an unused endpoint": {endpoint: epBulkIn, lane: epIntrIn},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newHostilePeer(t, Config{})
				defer r.stop()
				d := r.client()
				done := make(chan *usb.URB, 4)
				note := func(u *usb.URB) { done <- u }
				u := &usb.URB{Endpoint: c.endpoint, Data: make([]byte, 100), Packets: c.packets, Done: note}
				other := &usb.URB{Endpoint: epBulkOut, Data: make([]byte, 100), Done: note}
				d.Submit(u)
				d.Submit(other)
				if c.answer.URB == 0 {
					c.answer.URB = 1
				}
				if c.lane == 0 {
					c.lane = c.endpoint
				}
				synctest.Wait()
				r.send(tunnel.EndpointLane(d.number, uint8(c.lane)), tunnel.KindComplete, c.answer.Encode())
				wantStatus(t, done, 0, usb.StatusShutdown)
				wantStatus(t, done, 0, usb.StatusShutdown)
				var why *EndedError
				if !errors.As(d.Why(), &why) || why.Code != tunnel.CodeProtocol {
					t.Errorf("ended by %v", d.Why())
				}
				if len(r.frames(tunnel.KindDetach)) != 1 {
					t.Error("the device was not detached")
				}
			})
		})
	}
}

// host attaches the device of the session, as attachment 2.
func (r *hostilePeer) host() {
	r.hello()
	r.send(tunnel.LaneSession, tunnel.KindAttach, tunnel.Attach{Attachment: 2, Device: "1-1"}.Encode())
	if len(r.frames(tunnel.KindAttached)) != 1 {
		r.t.Fatal("not attached")
	}
}

func TestHostileSubmits(t *testing.T) {
	type frame struct {
		endpoint uint8
		kind     tunnel.Kind
		body     []byte
	}
	submit := func(endpoint usb.Endpoint, m tunnel.Submit) frame {
		return frame{uint8(endpoint), tunnel.KindSubmit, m.Encode()}
	}
	flood := func(m tunnel.Submit, endpoint usb.Endpoint, n int) (all []frame) {
		for i := range n {
			m.URB = uint64(i + 1)
			all = append(all, submit(endpoint, m))
		}
		return all
	}
	huge := (&tunnel.Submit{URB: 1}).Encode()
	binary.BigEndian.PutUint32(huge[20:], 0xffffffff)
	for name, frames := range map[string][]frame{
		"unknown endpoint":        {submit(0x8f, tunnel.Submit{URB: 1, Length: 5})},
		"unknown endpoint number": {submit(0x81|0x10, tunnel.Submit{URB: 1, Length: 5})},
		"endpoint 0 as 0x80":      {submit(0x80, tunnel.Submit{URB: 1, Length: 5})},
		"wrong direction":         {submit(epBulkOut&0x0f|0x80, tunnel.Submit{URB: 1, Length: 5})},
		"a huge length":           {{uint8(epBulkIn), tunnel.KindSubmit, huge}},
		"OUT without data":        {submit(epBulkOut, tunnel.Submit{URB: 1, Length: 5})},
		"IN with data":            {submit(epBulkIn, tunnel.Submit{URB: 1, Length: 1, Data: []byte{1}})},
		"packets for bulk": {submit(epBulkIn, tunnel.Submit{
			URB: 1, Length: 1, Packets: make([]tunnel.Packet, 1),
		})},
		"no packets for isochronous": {submit(epIsoIn, tunnel.Submit{URB: 1, Length: 1})},
		"a number twice":             flood(tunnel.Submit{}, epBulkIn, 1)[:1:1],
		"too many":                   flood(tunnel.Submit{Length: 1}, epIntrIn, tunnel.MaxInFlight+1),
		"too much":                   flood(tunnel.Submit{Length: tunnel.MaxTransfer}, epBulkIn, 9),
		"a short body":               {{uint8(epBulkIn), tunnel.KindSubmit, []byte{1}}},
		"a short cancel":             {{uint8(epBulkIn), tunnel.KindCancel, []byte{1}}},
		"a completion":               {{uint8(epBulkIn), tunnel.KindComplete, (&tunnel.Complete{URB: 1}).Encode()}},
	} {
		if name == "a number twice" {
			frames = append(frames, frames[0])
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newModel(1, 0)
				r := newHostilePeer(t, Config{Host: &testHost{dev: m}})
				defer r.stop()
				r.host()
				for _, f := range frames {
					r.send(tunnel.Lane(2<<8)|tunnel.Lane(f.endpoint), f.kind, f.body)
				}
				got := r.frames(tunnel.KindDetached)
				if len(got) != 1 || !strings.Contains(string(got[0]), string(tunnel.CodeProtocol)) {
					t.Fatalf("Detached: %q", got)
				}
				if m.closes() != 1 || m.peak > tunnel.MaxInFlightSum {
					t.Errorf("given back %d times, %d bytes at once", m.closes(), m.peak)
				}
			})
		})
	}
}

// TestUnacknowledgedResultsAreBounded lets a peer submit as much as it may and acknowledge nothing.
func TestUnacknowledgedResultsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel(1, time.Millisecond)
		r := newHostilePeer(t, Config{Host: &testHost{dev: m}})
		defer r.stop()
		r.host()
		lane := tunnel.EndpointLane(2, uint8(epBulkIn))
		for id := 1; id <= 100; id++ {
			m := tunnel.Submit{URB: uint64(id), Length: 1 << 20, StartFrame: int32(id)}
			r.send(lane, tunnel.KindSubmit, m.Encode())
			time.Sleep(2 * time.Millisecond)
			if id > 50 { // more may not be in flight
				break
			}
		}
		completed := len(r.frames(tunnel.KindComplete))
		if completed < 20 || completed > 32 {
			t.Errorf("%d completions of 1 MiB are kept for a peer that acknowledges none", completed)
		}
		// An URB that is cancelled while it is parked completes and never runs.
		r.send(lane, tunnel.KindCancel, tunnel.Cancel{URB: 51}.Encode())
		if got := r.frames(tunnel.KindComplete); len(got) != completed+1 {
			t.Errorf("%d completions after the cancel", len(got)-completed)
		}
		for range 3 {
			next := uint64(len(r.frames(tunnel.KindComplete)) + 1)
			r.send(tunnel.LaneLink, tunnel.KindAck, tunnel.Ack{{Lane: lane, Next: next}}.Encode())
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if got := len(r.frames(tunnel.KindComplete)); got != 51 || m.runs[51] != 0 || len(m.runs) != 50 {
			t.Errorf("%d completions, %d runs", got, len(m.runs))
		}
	})
}

func TestHostileControl(t *testing.T) {
	for name, send := range map[string]func(*hostilePeer){
		"attachment with the session's parity": func(r *hostilePeer) { r.attach(3) },
		"attachment that exists":               func(r *hostilePeer) { r.attach(2); r.attach(2) },
		"garbage": func(r *hostilePeer) {
			r.send(tunnel.LaneSession, tunnel.KindDevices, []byte("{"))
		},
		"reply without a request": func(r *hostilePeer) {
			r.send(tunnel.LaneSession, tunnel.KindDetached, []byte(`{"attachment":1}`))
		},
		"acknowledges frames that do not exist": func(r *hostilePeer) {
			r.send(tunnel.LaneLink, tunnel.KindAck, tunnel.Ack{{Lane: 1, Next: 9}}.Encode())
		},
		"a gap": func(r *hostilePeer) { r.seq[1] += 5; r.attach(2) },
		"another version": func(r *hostilePeer) {
			r.send(tunnel.LaneLink, tunnel.KindHello, []byte(`{"version":9}`))
		},
		"acknowledges nothing": func(r *hostilePeer) {
			for range 3000 {
				r.attach(4)
				synctest.Wait()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host := &testHost{dev: newModel(1, 0), refuse: ErrDenied}
				if name == "attachment that exists" { // one that is refused soon ceases to exist
					host.refuse = nil
				}
				r := newHostilePeer(t, Config{Host: host})
				defer r.stop()
				r.hello()
				send(r)
				synctest.Wait()
				if !r.side.c.isOver() {
					t.Error("the link is still open")
				}
			})
		})
	}
}

func (r *hostilePeer) attach(n uint16) {
	r.send(tunnel.LaneSession, tunnel.KindAttach, tunnel.Attach{Attachment: n, Device: "1-1"}.Encode())
}

// FuzzFrames lets a peer send arbitrary frames after its Hello.
func FuzzFrames(f *testing.F) {
	one := func(lane tunnel.Lane, kind tunnel.Kind, body []byte) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(lane))
		b = append(b, byte(kind))
		b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
		return append(b, body...)
	}
	attach := one(1, tunnel.KindAttach, tunnel.Attach{Attachment: 2, Device: "1-1"}.Encode())
	submit := one(0x281, tunnel.KindSubmit, (&tunnel.Submit{URB: 1, Length: 9}).Encode())
	f.Add(append(attach, submit...))
	f.Add(append(attach, one(0x281, tunnel.KindCancel, make([]byte, 8))...))
	f.Add(append(attach, one(1, tunnel.KindDetach, []byte(`{"attachment":2}`))...))
	f.Add(one(0, tunnel.KindAck, tunnel.Ack{{Lane: 1, Next: 2}}.Encode()))
	f.Add(one(0, tunnel.KindHello, tunnel.Hello{Version: 1, Incarnation: 5}.Encode()))
	f.Add(one(0, tunnel.KindGoodbye, tunnel.GoodbyeStopping.Encode()))
	f.Fuzz(func(t *testing.T, script []byte) {
		synctest.Test(t, func(t *testing.T) {
			m := newModel(1, time.Millisecond)
			r := newHostilePeer(t, Config{Host: &testHost{dev: m}})
			r.hello()
			for len(script) >= 7 && !r.side.c.isOver() {
				lane, kind := tunnel.Lane(binary.BigEndian.Uint32(script)), tunnel.Kind(script[4])
				n := min(int(binary.BigEndian.Uint16(script[5:])), len(script)-7)
				r.send(lane, kind, script[7:7+n])
				script = script[7+n:]
				synctest.Wait()
			}
			time.Sleep(time.Second)
			r.stop()
			if m.peak > tunnel.MaxInFlightSum {
				t.Errorf("%d bytes at once", m.peak)
			}
		})
	})
}
