package transport

import (
	"fmt"
	"slices"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/session/fifo"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// maxControlFrames bounds the frames that lane 1 keeps for a peer that acknowledges nothing. An honest peer needs a few
// for each attachment.
const maxControlFrames = 32 * tunnel.MaxAttachments

// OutLane sends frames to the peer on one lane. It keeps each frame until the peer has acknowledged it.
type OutLane struct {
	group *Group
	lane  tunnel.Lane
	class tunnel.Class

	mu sync.Mutex
	// Guarded by mu.
	closed  bool
	first   uint64 // the number of the first of frames; the peer has acknowledged all before it
	frames  fifo.Queue[outFrame]
	backlog int         // bytes of frames
	link    *linkRunner // the active link; nil: none is up
	current *writer     // that of link; nil until there is something to send
	writers []*writer   // all that run
}

type outFrame struct {
	kind tunnel.Kind
	body []byte
	cost int
}

// Push appends a frame and returns its number. It returns false if the lane is closed. The transport owns body from
// then on. Cost is the amount that the frame adds to the sum that Receiver.Acknowledged reports; it must not be 0.
func (o *OutLane) Push(kind tunnel.Kind, body []byte, cost int) (number uint64, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return 0, false
	}
	o.frames.Push(outFrame{kind, body, cost})
	o.backlog += len(body)
	o.wakeWriter()
	if o.lane == tunnel.LaneSession && o.frames.Len() > maxControlFrames {
		o.group.state.violate("the peer acknowledges nothing")
	}
	return o.end() - 1, true
}

// Acknowledge drops the frames before number next, which the peer is known to have received, and returns the sum of
// their costs. Frames that were not sent stay.
func (o *OutLane) Acknowledge(next uint64) int {
	cost, _ := o.acknowledge(next)
	return cost
}

func (o *OutLane) acknowledge(next uint64) (cost int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || next <= o.first {
		return 0, nil
	}
	if next > o.end() {
		return 0, fmt.Errorf("the peer acknowledges frame %d of lane %#x, of which %d exist",
			next-1, uint32(o.lane), o.end()-1)
	}
	n, bytes := int(next-o.first), 0
	for i := range n {
		f := o.frames.At(i)
		cost += f.cost
		bytes += len(f.body)
		if !o.isBeingSent(o.first + uint64(i)) {
			o.group.state.transport.bodies.Put(f.body)
		}
	}
	o.frames.Drop(n)
	o.first = next
	o.backlog -= bytes
	o.group.state.transport.counters.acked.Add(uint64(bytes))
	return cost, nil
}

// end returns the number of the next new frame. mu must be held.
func (o *OutLane) end() uint64 { return o.first + uint64(o.frames.Len()) }

// isBeingSent reports whether a link reads the body of a frame. mu must be held.
func (o *OutLane) isBeingSent(number uint64) bool {
	return slices.ContainsFunc(o.writers, func(w *writer) bool { return w.sending == number })
}

// wakeWriter has the writer of the active link send what is new. mu must be held.
func (o *OutLane) wakeWriter() {
	switch {
	case o.current != nil:
		o.current.wake.Signal()
	case o.link != nil && o.frames.Len() > 0:
		o.current = newWriter(o, o.link)
		o.writers = append(o.writers, o.current)
		o.group.state.transport.work.Go(o.current.run)
	}
}

// use makes the lane send on a link, or on none.
func (o *OutLane) use(l *linkRunner) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.link, o.current = l, nil
	if i := slices.IndexFunc(o.writers, func(w *writer) bool { return w.link == l }); i >= 0 {
		o.current = o.writers[i]
	}
	o.wakeWriter()
}

// forget stops the writer of a link that has ended.
func (o *OutLane) forget(l *linkRunner) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.link == l {
		o.link, o.current = nil, nil
	}
	for _, w := range o.writers {
		if w.link == l {
			w.over = true
			w.wake.Signal()
		}
	}
}

// close drops all frames and stops the writers.
func (o *OutLane) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.link, o.current = true, nil, nil
	o.frames, o.backlog = fifo.Queue[outFrame]{}, 0
	for _, w := range o.writers {
		w.wake.Signal()
	}
}

// writer sends the frames of one lane on one link. Its goroutine lives as long as both of them. It sends while the link
// is the active one:
//
//	waiting ◄──────► sending ──► ended
//	   └──────────────────────────▲
//
// Send blocks for its lane only, so a lane that is held up does not hold up another one.
type writer struct {
	lane *OutLane
	link *linkRunner
	wake *sync.Cond // with lane.mu
	turn turn
	part func(left int) int // turn.take; nil for an interactive lane

	// Guarded by lane.mu.
	next    uint64 // the number of the next frame to send on this link
	sending uint64 // the number of the frame that Send has now; 0: none
	over    bool   // the link has ended
}

// newWriter returns the writer of a lane on a link. lane.mu must be held.
func newWriter(o *OutLane, l *linkRunner) *writer {
	w := &writer{lane: o, link: l, wake: sync.NewCond(&o.mu), next: o.first}
	if o.class < tunnel.ClassInteractive {
		w.turn = turn{turns: &l.turns, class: o.class}
		w.part = w.turn.take
	}
	return w
}

func (w *writer) run() {
	defer w.leave()
	for {
		f, ok := w.take()
		if !ok || !w.awaitLimits(f) {
			break
		}
		w.link.copyLater(w.lane, f)
		if err := w.link.link.Send(f); err != nil {
			w.link.fail(sendError(err))
			return
		}
	}
	if !w.link.isOver() {
		w.link.link.EndLane(w.lane.lane)
	}
}

// awaitLimits waits until the limits of the group and of the transport let a frame be sent. It returns false if the
// lane or the link has ended.
func (w *writer) awaitLimits(f tunnel.Frame) bool {
	g, bytes := w.lane.group, tunnel.HeaderSize+len(f.Body)
	for _, l := range [...]*limiter{&g.limit, &g.state.transport.limit.limiter} {
		if l.current.Load() != nil {
			w.turn.end() // other lanes may write meanwhile
			if !l.wait(f.Class, bytes, g.over, w.link.ended) {
				return false
			}
		}
	}
	return true
}

// leave removes the writer from its lane. It stays the current one until its link ends, so that no other one starts.
func (w *writer) leave() {
	w.turn.end()
	o := w.lane
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writers = slices.DeleteFunc(o.writers, func(v *writer) bool { return v == w })
}

// take waits for the next frame. It returns false when the lane or the link has ended.
func (w *writer) take() (tunnel.Frame, bool) {
	o := w.lane
	o.mu.Lock()
	defer o.mu.Unlock()
	w.sending = 0
	if o.current != w || w.next >= o.end() {
		w.turn.end()
	}
	for !o.closed && !w.over {
		w.next = max(w.next, o.first)
		if o.current == w && w.next < o.end() {
			f := o.frames.At(int(w.next - o.first))
			w.sending = w.next
			w.next++
			o.group.state.transport.counters.sent.Add(1)
			return tunnel.Frame{
				Lane: o.lane, Seq: w.sending, Kind: f.kind, Body: f.body, Class: o.class, Part: w.part,
			}, true
		}
		w.wake.Wait()
	}
	return tunnel.Frame{}, false
}
