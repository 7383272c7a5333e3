package lab

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

const (
	maxFrame = 9216    // bytes, on an emulated link
	maxQueue = 200_000 // packets held in one direction, a bound on memory

	policedBurst = 32 << 10 // bytes of UDP that may exceed Impair.UDPRate for a moment
)

// LinkStats counts IP packets of one direction of an emulated link.
type LinkStats struct{ In, Out, Lost, Overflow, Held, Dup uint64 }

type packet struct {
	at int64 // departure
	b  []byte
}

// fifo is a queue of packets, ordered by departure.
type fifo struct {
	p    []packet
	head int
}

func (f *fifo) len() int { return len(f.p) - f.head }

func (f *fifo) push(p packet) {
	if n := f.len(); n > 0 {
		p.at = max(p.at, f.p[len(f.p)-1].at)
	}
	if f.head > 4096 && f.head*2 > len(f.p) {
		f.p = f.p[:copy(f.p, f.p[f.head:])]
		f.head = 0
	}
	f.p = append(f.p, p)
}

func (f *fifo) pop() packet {
	p := f.p[f.head]
	f.p[f.head].b = nil
	if f.head++; f.head == len(f.p) {
		f.p, f.head = f.p[:0], 0
	}
	return p
}

// pipe is one direction of a link: it writes the frames that it reads from in to out.
// The link's thread owns all fields but cfg and n.
type pipe struct {
	in, out int
	cfg     atomic.Pointer[Impair]
	rng     *rand.Rand // three draws per packet, so its fate depends on the seed and its number only
	bad     bool       // Gilbert state
	idle    int64      // when the rate-limited line becomes idle
	policed int64      // when the bucket of the policed UDP is full again
	wander  jitter
	line    fifo // in order
	held    fifo // taken out of order
	n       struct{ in, out, lost, overflow, held, dup atomic.Uint64 }
}

func (p *pipe) stats() LinkStats {
	return LinkStats{
		In: p.n.in.Load(), Out: p.n.out.Load(), Lost: p.n.lost.Load(),
		Overflow: p.n.overflow.Load(), Held: p.n.held.Load(), Dup: p.n.dup.Load(),
	}
}

// jitter moves linearly between random values at intervals of its size. Its slope
// never exceeds 1, so it alone reorders nothing.
type jitter struct {
	rng  *rand.Rand
	at   int64    // time of the last value ...
	knot [2]int64 // ... that value and the next
}

func (j *jitter) now(size, now int64) int64 {
	if size == 0 {
		return 0
	}
	if now-j.at > 2*size {
		j.at, j.knot = now, [2]int64{j.rng.Int64N(size + 1), j.rng.Int64N(size + 1)}
	} else if now-j.at > size {
		j.at, j.knot = j.at+size, [2]int64{j.knot[1], j.rng.Int64N(size + 1)}
	}
	return j.knot[0] + (j.knot[1]-j.knot[0])*(now-j.at)/size
}

// lose decides whether a packet is lost.
func (p *pipe) lose(c *Impair, draw float64) bool {
	switch {
	case c.Burst <= 1:
		p.bad = draw < c.Loss
	case p.bad:
		p.bad = draw >= 1/c.Burst
	default:
		p.bad = draw < c.Loss/(c.Burst*max(1-c.Loss, 1e-9))
	}
	return p.bad
}

// police reports whether a token bucket lets a UDP packet pass.
func (p *pipe) police(rate float64, bytes int, now int64) bool {
	full := max(p.policed, now) + int64(float64(bytes)*8000/rate)
	if float64(full-now) > policedBurst*8000/rate {
		return false
	}
	p.policed = full
	return true
}

// isUDP reports whether an Ethernet frame holds UDP over IPv4.
func isUDP(b []byte) bool {
	return len(b) > ethernetHeader+9 && b[12] == 8 && b[13] == 0 && b[ethernetHeader+9] == protoUDP
}

// accept decides what happens to a frame that arrived now, and reports whether the
// pipe keeps b.
func (p *pipe) accept(b []byte, now int64) bool {
	c := p.cfg.Load()
	loss, hold, dup := p.rng.Float64(), p.rng.Float64(), p.rng.Float64()
	p.n.in.Add(1)
	if p.lose(c, loss) {
		p.n.lost.Add(1)
		return false
	}
	if c.UDPRate > 0 && isUDP(b) && !p.police(c.UDPRate, len(b)-ethernetHeader, now) {
		p.n.lost.Add(1)
		return false
	}
	sent := now
	if c.Rate > 0 {
		bound := c.Queue
		if bound == 0 {
			bound = 50 * time.Millisecond
		}
		if p.idle-now > int64(bound) {
			p.n.overflow.Add(1)
			return false
		}
		p.idle = max(p.idle, now) + int64(float64(len(b)-ethernetHeader)*8000/c.Rate)
		sent = p.idle
	}
	if p.line.len()+p.held.len() >= maxQueue {
		p.n.overflow.Add(1)
		return false
	}
	at := sent + int64(c.Delay) + p.wander.now(int64(c.Jitter), now)
	q := &p.line
	if hold < c.Reorder {
		by := c.ReorderBy
		if by == 0 {
			by = 5 * time.Millisecond
		}
		at, q = at+int64(by), &p.held
		p.n.held.Add(1)
	}
	q.push(packet{at, b})
	if dup < c.Dup {
		p.n.dup.Add(1)
		q.push(packet{at, append(make([]byte, 0, maxFrame), b...)})
	}
	return true
}

// due returns the next packet whose departure is not after now, or the time of the
// next departure; -1 is never.
func (p *pipe) due(now int64) (b []byte, next int64) {
	next = -1
	for _, q := range [...]*fifo{&p.line, &p.held} {
		if q.len() == 0 {
			continue
		}
		at := q.p[q.head].at
		if at <= now {
			return q.pop().b, 0
		}
		if next < 0 || at < next {
			next = at
		}
	}
	return nil, next
}
