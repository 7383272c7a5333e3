package isochronous

import (
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// The depth of the jitter buffer of an IN: the time between the arrival of the packets
// that were fastest and their completion.
const (
	firstDepth   = 40 * time.Millisecond // while little is known about the path
	lowestDepth  = 15 * time.Millisecond
	highestDepth = 80 * time.Millisecond // later packets count as lost
	depthPeriod  = 8 * time.Second       // for which the slowest packet counts
	depthReserve = 8 * time.Millisecond  // in addition to what the slowest packet needed

	// lateTimeout is the time after which packets that all come too late are no exception: the
	// path has become longer, or the device has lost time.
	lateTimeout = 100 * time.Millisecond
)

// reader is the part of a stream that reads an IN endpoint.
type reader struct {
	blocks   decoder
	packets  buffer
	position uint64    // first slot that is not over
	anchored bool      // base is known
	base     uint64    // the slot of packet 0; wraps
	late     time.Time // since when all packets came too late; zero: the last ones did not
}

// arrive handles a shard of the host.
func (st *stream) arrive(shard tunnel.Shard, now time.Time) {
	st.heard = now
	r := &st.reader
	b, ok := r.blocks.add(shard)
	if !ok {
		return
	}
	n := uint64(len(b.Packets))
	length := time.Duration(n) * st.clock.interval
	if !r.anchored {
		r.anchored = true
		if !st.running {
			st.running = true
			st.clock.lead = st.clock.offset(r.position, now.Add(firstDepth-length))
			st.clock.steered = now
		}
		// The block has to be complete firstDepth from now.
		r.base = max(r.position, st.clock.next(now.Add(firstDepth-length))) - b.First
	}
	first := b.First + r.base
	if off := int64(first - r.position); off > maxKept || off < -maxKept {
		return // no host is so far from its device's clock
	}
	st.steer(first+n, now)
	for i, p := range b.Packets {
		slot := first + uint64(i)
		st.work.Ahead += int64(len(p.Data))
		if slot < r.position {
			st.work.Late++
			continue
		}
		r.packets.put(slot, r.position, p)
	}
	if len(st.queue) > 0 {
		st.timer.Reset(time.Until(st.clock.due(st.queue[0].end())))
	}
}

// steer makes the clock follow the packets. Those before slot end have just arrived.
func (st *stream) steer(end uint64, now time.Time) {
	c := &st.clock
	if !now.After(c.due(end)) {
		st.reader.late = time.Time{}
	} else if st.reader.late.IsZero() {
		st.reader.late = now
	} else if now.Sub(st.reader.late) >= lateTimeout {
		c.seen = newExtremes(depthPeriod)
	}
	c.seen.add(c.offset(end, now), now)
	low, high := c.seen.lowest(), c.seen.highest()
	depth := high - low + depthReserve
	if c.seen.isSettled() {
		depth = max(depth, lowestDepth)
	} else {
		depth = max(depth, firstDepth)
	}
	c.steer(low+min(depth, highestDepth), now)
}

// read copies the packet of a slot to the driver.
func (st *stream) read(u *usb.URB, q *usb.IsoPacket, slot uint64) {
	p, ok := st.reader.packets.take(slot)
	if !ok {
		q.Actual, q.Status = 0, usb.StatusCrossLink
		st.work.Lost++
		return
	}
	q.Status = usb.Status(p.Status)
	if len(p.Data) > int(q.Length) {
		q.Status = usb.StatusOverflow
		p.Data = p.Data[:q.Length]
	}
	q.Actual = uint32(copy(u.Data[q.Offset:], p.Data))
}
