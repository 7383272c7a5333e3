package isochronous

import (
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// The URBs that the host keeps posted at the device.
const (
	urbTime    = 4 * time.Millisecond
	postedTime = 64 * time.Millisecond // of an IN: the agent may be late by as much
	aheadTime  = 24 * time.Millisecond // of an OUT: its packets wait as long
	maxPackets = 64                    // of one URB; usbfs allows 128 (proc_do_submiturb in drivers/usb/core/devio.c)
	fewestURBs = 3
)

// The jitter buffer of an OUT.
const (
	fillDepth   = 64 * time.Millisecond // that it must hold before the device gets packets, those of aheadTime at once
	refillDepth = 8 * time.Millisecond  // and again, after it was empty: the missing packets are on their way

	// drainTimeout bounds the time for which the end of a stream waits for the device.
	drainTimeout = 300 * time.Millisecond

	// The device may lose time, and the packets in the buffer become more and more. If they
	// are never fewer than for surplusDepth in surplusReports reports, the oldest are dropped.
	surplusDepth   = 120 * time.Millisecond
	surplusReports = 6
)

// hostStream is the host's half of a stream. The mu of the Host guards it.
type hostStream struct {
	host     *Host
	endpoint usb.Endpoint
	number   uint32
	interval time.Duration
	room     int // bytes of a packet
	perURB   int // packets
	audio    bool
	urbs     []*usb.URB  // all that are posted
	silence  *time.Timer // ends the stream
	draining bool        // of an OUT: it ends when the device has played what is there

	sender *sender // of an IN
	player *player // of an OUT
}

// begin begins a stream. mu must be held.
func (h *Host) begin(e usb.Endpoint, r tunnel.IsoReport) *hostStream {
	st := &hostStream{
		host: h, endpoint: e, number: r.Stream, room: int(r.Room),
		interval: time.Duration(r.Interval) * microframe, audio: h.layout.isAudio(e),
	}
	st.perURB = int(min(max(urbTime/st.interval, 1), maxPackets))
	st.silence = time.AfterFunc(silenceTimeout, func() { h.timeOut(st) })
	h.streams[e] = st
	if !e.In() {
		st.player = &player{stream: st, filling: true}
		return st
	}
	st.sender = newSender(h.cast, uint8(e), r.Stream, st.interval)
	for range st.posted(postedTime) {
		u := st.newURB()
		h.box.Submit(u)
	}
	return st
}

// posted returns the number of URBs that last for a time.
func (st *hostStream) posted(total time.Duration) int {
	return max(int(total/(time.Duration(st.perURB)*st.interval)), fewestURBs)
}

// newURB returns an URB for the endpoint.
func (st *hostStream) newURB() *usb.URB {
	u := &usb.URB{
		Endpoint: st.endpoint, Flags: usb.IsoASAP, Data: make([]byte, st.perURB*st.room),
		Packets: make([]usb.IsoPacket, st.perURB),
	}
	u.Interval = int32(st.interval / microframe)
	if st.host.layout.speed < usb.SpeedHigh {
		u.Interval /= 8
	}
	for i := range u.Packets {
		u.Packets[i] = usb.IsoPacket{Offset: uint32(i * st.room), Length: uint32(st.room)}
	}
	u.Done = func(u *usb.URB) { st.host.done(st, u) }
	st.urbs = append(st.urbs, u)
	return u
}

// stop ends the stream, an OUT once the device has played what is there.
func (st *hostStream) stop() {
	switch {
	case st.draining:
	case st.player == nil || !st.player.drain():
		st.end(streamEnd{number: st.number})
	default:
		st.draining = true
		st.silence.Reset(drainTimeout)
	}
}

// end ends the stream and cancels its URBs.
func (st *hostStream) end(x streamEnd) {
	h := st.host
	delete(h.streams, st.endpoint)
	h.ended[st.endpoint] = x
	st.silence.Stop()
	for _, u := range st.urbs {
		h.box.Cancel(u)
	}
	st.urbs = nil
}

// completed handles an URB of the stream that the device has finished.
func (st *hostStream) completed(u *usb.URB, now time.Time) {
	if u.Status != usb.StatusOK && u.Status != usb.StatusCrossLink {
		x := streamEnd{number: st.number, refused: true}
		st.end(x)
		st.host.sayEnded(st.endpoint, x)
		return
	}
	if st.player != nil {
		st.player.played(u, now)
		return
	}
	for _, p := range u.Packets {
		n := min(p.Actual, p.Length)
		st.sender.add(int32(p.Status), u.Data[p.Offset:p.Offset+n])
	}
	st.host.box.Submit(u)
}

// arrive handles a shard of an OUT.
func (st *hostStream) arrive(s tunnel.Shard) {
	if !st.draining {
		st.silence.Reset(silenceTimeout)
	}
	if b, ok := st.player.blocks.add(s); ok {
		st.player.add(b)
	}
}
