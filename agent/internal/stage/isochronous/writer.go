package isochronous

import (
	"time"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// The host reports how much its jitter buffer holds at least. The clock is trimmed so that
// it stays between these bounds.
const (
	lowestMargin  = 8 * time.Millisecond
	highestMargin = 40 * time.Millisecond
	trimInterval  = 5 * time.Second
	trimStep      = 4 * time.Millisecond

	pacePeriod = 2 * time.Second       // for which the fastest report counts
	sendAhead  = 24 * time.Millisecond // a driver may submit packets earlier; the host need not keep them
)

// writer is the part of a stream that writes to an OUT endpoint. Its clock follows that
// of the device as the reports of the host show it.
type writer struct {
	stream *stream
	sender *sender

	known   bool // bias is
	elapsed uint64
	bias    time.Duration // of the lead of the clock over the fastest reports
	margin  time.Duration // lowest since trimmed
	trimmed time.Time
}

func newWriter(st *stream) *writer {
	s := newSender(st.stage.cast, uint8(st.endpoint), st.number, st.clock.interval)
	s.next = st.next
	return &writer{stream: st, sender: s}
}

// write sends the packets of an URB.
func (w *writer) write(p slotURB) {
	w.sender.skip(p.first)
	for _, q := range p.urb.Packets {
		w.sender.add(0, p.urb.Data[q.Offset:q.Offset+q.Length])
	}
}

// follow makes the clock follow a report of the host.
func (w *writer) follow(r tunnel.IsoReport, now time.Time) {
	st, c := w.stream, &w.stream.clock
	w.sender.encoder.loss = float64(r.Loss) / 0xffff
	st.work.Late, st.work.Lost, st.work.Recovered = int64(r.Late), int64(r.Lost)+int64(r.Late), int64(r.Recovered)
	if r.Elapsed <= w.elapsed {
		return // overtaken by a later one
	}
	w.elapsed = r.Elapsed
	c.seen.add(c.offset(r.Elapsed, now), now)
	margin := time.Duration(r.Margin) * c.interval
	if !w.known {
		w.known = true
		w.bias = c.lead - c.seen.lowest()
		w.margin, w.trimmed = margin, now
	}
	w.margin = min(w.margin, margin)
	if now.Sub(w.trimmed) >= trimInterval {
		w.trim()
		w.margin, w.trimmed = margin, now
	}
	c.drift(c.seen.lowest()+w.bias, now)
}

// trim changes the lead if the jitter buffer of the host holds too little or too much.
func (w *writer) trim() {
	switch {
	case w.margin < lowestMargin:
		w.bias -= min(trimStep, lowestMargin-w.margin)
	case w.margin > highestMargin:
		w.bias += min(trimStep, w.margin-highestMargin)
	}
}
