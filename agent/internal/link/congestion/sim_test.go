package congestion

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"time"
)

// simulation runs flows over one bottleneck in virtual time.
//
//	flow ──► jitter, loss ──► queue ──► rate ──► delay ──► receiver
//	  ▲                                                       │
//	  └───────────────── delay, jitter ◄── ACK ◄──────────────┘
type simulation struct {
	path
	now              Time
	events           eventQueue
	seq              int
	rng              *rand.Rand
	idle             Time // when the bottleneck becomes idle
	bad              bool // Gilbert state
	up               wander
	down             wander
	lastUp, lastDown Time      // the latest arrival: order is kept
	queue            quantiles // delay of each packet in the queue

	policer bucket
	batch   time.Duration // the link delivers packets together, once in this time
}

// path describes the bottleneck.
type path struct {
	rate   float64 // Mbit/s
	rtt    time.Duration
	jitter time.Duration // of each direction, order kept
	loss   float64
	burst  float64 // mean length of a run of losses
	depth  time.Duration
	busy   time.Duration // mean time for which the sender and the receiver wait for a processor
}

type event struct {
	at  Time
	seq int
	run func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

// wander is a jitter that moves linearly between random values, so that it keeps the
// order of packets.
type wander struct {
	rng  *rand.Rand
	size Time
	at   Time
	knot [2]Time
}

func (j *wander) now(now Time) Time {
	if j.size == 0 {
		return 0
	}
	draw := func() Time { return Time(j.rng.Int64N(int64(j.size) + 1)) }
	if now-j.at > 2*j.size {
		j.at, j.knot = now, [2]Time{draw(), draw()}
	} else if now-j.at > j.size {
		j.at, j.knot = j.at+j.size, [2]Time{j.knot[1], draw()}
	}
	return j.knot[0] + (j.knot[1]-j.knot[0])*(now-j.at)/j.size
}

type quantiles []float64

func (q quantiles) at(p float64) float64 {
	if len(q) == 0 {
		return 0
	}
	s := append(quantiles(nil), q...)
	slices.Sort(s)
	return s[min(len(s)-1, int(p*float64(len(s))))]
}

func newSimulation(p path, seed uint64) *simulation {
	rng := rand.New(rand.NewPCG(seed, 2))
	return &simulation{
		path: p, rng: rng,
		up:   wander{rng: rand.New(rand.NewPCG(seed, 4)), size: Time(p.jitter)},
		down: wander{rng: rand.New(rand.NewPCG(seed, 6)), size: Time(p.jitter)},
	}
}

func (s *simulation) after(d Time, run func()) {
	s.seq++
	heap.Push(&s.events, event{s.now + d, s.seq, run})
}

// run runs a function when the process runs.
func (s *simulation) run(p *process, f func()) {
	if at := p.runsAt(s.now); at > s.now {
		s.after(at-s.now, f)
	} else {
		f()
	}
}

func (s *simulation) runUntil(end Time) {
	for len(s.events) > 0 && s.events[0].at <= end {
		e := heap.Pop(&s.events).(event)
		s.now = e.at
		e.run()
	}
	s.now = end
}

func (s *simulation) lost() bool {
	switch draw := s.rng.Float64(); {
	case s.burst <= 1:
		s.bad = draw < s.loss
	case s.bad:
		s.bad = draw >= 1/s.burst
	default:
		s.bad = draw < s.loss/(s.burst*max(1-s.loss, 1e-9))
	}
	return s.bad
}

// send carries a packet to the receiver unless it is lost.
func (s *simulation) send(bytes int, arrived func()) {
	if s.lost() {
		return
	}
	if !s.policer.take(s.now, s.rate, bytes) {
		return
	}
	depart := max(s.idle, s.now)
	if depart-s.now > Time(s.depth) {
		return
	}
	s.queue = append(s.queue, float64(depart-s.now)/1e6)
	s.idle = depart + Time(float64(bytes)*8000/s.rate)
	s.lastUp = max(s.lastUp, s.together(s.idle)+Time(s.rtt)/2+s.up.now(s.now))
	s.after(s.lastUp-s.now, arrived)
}

// together returns when the link delivers a packet that is ready at the given time.
func (s *simulation) together(ready Time) Time {
	if s.batch == 0 {
		return ready
	}
	return (ready/Time(s.batch) + 1) * Time(s.batch)
}

// back carries an acknowledgement.
func (s *simulation) back(arrived func()) {
	s.lastDown = max(s.lastDown, s.together(s.now)+Time(s.rtt)/2+s.down.now(s.now))
	s.after(s.lastDown-s.now, arrived)
}

const packetBytes = 1250

// control is a congestion controller as the simulated sender uses it.
type control interface {
	OnSent(now Time, number int64, bytes, inFlight int)
	OnAck(Ack)
	Window() int
	NextSend(now Time) Time
}

// flow is a sender that always has data, or, with limit, at most that many bytes a second.
type flow struct {
	s         *simulation
	cc        control
	next      int64
	inFlight  int
	sent      map[int64]Time
	order     []int64
	largest   int64
	srtt      time.Duration
	delivered int // bytes at the receiver
	timer     bool
	unacked   []int64
	ackTimer  bool
	lastAcked Time
	lossTimer bool
	lostTotal int
	paused    bool  // the application has nothing to send
	last      int64 // the application has no packets from this number on; 0: it always has

	sender, receiver process
	farther          Time // how much longer its round trip is
}

func (s *simulation) start(cc control, at time.Duration) *flow {
	f := &flow{s: s, cc: cc, sent: map[int64]Time{}, largest: -1}
	f.sender = process{rng: rand.New(rand.NewPCG(s.rng.Uint64(), 1)), wait: Time(s.busy)}
	f.receiver = process{rng: rand.New(rand.NewPCG(s.rng.Uint64(), 1)), wait: Time(s.busy)}
	s.after(Time(at)-s.now, f.pump)
	return f
}

// sendOne sends a packet of an application that has no more.
func (f *flow) sendOne() {
	n := f.next
	f.next++
	f.cc.OnSent(f.s.now, n, packetBytes, f.inFlight)
	f.inFlight += packetBytes
	f.sent[n] = f.s.now
	f.order = append(f.order, n)
	f.s.send(packetBytes, func() { f.s.run(&f.receiver, func() { f.receive(n) }) })
}

func (f *flow) pump() {
	for f.inFlight+packetBytes <= f.cc.Window() {
		if at := f.cc.NextSend(f.s.now); at > f.s.now {
			if !f.timer {
				f.timer = true
				f.s.after(at-f.s.now, func() { f.s.run(&f.sender, func() { f.timer = false; f.pump() }) })
			}
			return
		}
		if f.paused || f.last > 0 && f.next >= f.last {
			break
		}
		f.sendOne()
	}
	f.armLossTimer()
}

// receive is the receiver: it acknowledges every second packet, or after 5 ms.
func (f *flow) receive(n int64) {
	f.delivered += packetBytes
	f.unacked = append(f.unacked, n)
	if len(f.unacked) >= 2 {
		f.ack()
	} else if !f.ackTimer {
		f.ackTimer = true
		f.s.after(Time(5*time.Millisecond), func() { f.ackTimer = false; f.ack() })
	}
}

func (f *flow) ack() {
	if len(f.unacked) == 0 {
		return
	}
	list := f.unacked
	f.unacked = nil
	f.s.after(f.farther, func() { f.s.back(func() { f.s.run(&f.sender, func() { f.acked(list) }) }) })
}

func (f *flow) acked(list []int64) {
	e := Ack{Now: f.s.now}
	for _, n := range list {
		at, ok := f.sent[n]
		if !ok {
			continue
		}
		delete(f.sent, n)
		f.inFlight -= packetBytes
		e.Acked = append(e.Acked, Packet{n, packetBytes})
		if n > f.largest {
			f.largest = n
			e.RTT = time.Duration(f.s.now - at)
			if f.srtt == 0 {
				f.srtt = e.RTT
			}
			f.srtt += (e.RTT - f.srtt) / 8
		}
	}
	f.detect(&e)
	if len(e.Acked)+len(e.Lost) > 0 {
		f.cc.OnAck(e)
	}
	f.lastAcked = f.s.now
	f.pump()
}

// detect finds lost packets as RFC 9002 section 6.1 does.
func (f *flow) detect(e *Ack) {
	limit := f.s.now - Time(max(f.srtt, e.RTT)*9/8)
	for len(f.order) > 0 {
		n := f.order[0]
		at, ok := f.sent[n]
		if ok && !(n < f.largest && (f.largest-n >= 3 || at <= limit)) {
			return
		}
		f.order = f.order[1:]
		if ok {
			delete(f.sent, n)
			f.inFlight -= packetBytes
			f.lostTotal++
			e.Lost = append(e.Lost, Packet{n, packetBytes})
		}
	}
}

// armLossTimer declares everything lost when nothing has been acknowledged for long.
func (f *flow) armLossTimer() {
	if f.lossTimer || f.inFlight == 0 {
		return
	}
	f.lossTimer = true
	wait := Time(max(3*f.srtt, 300*time.Millisecond))
	f.s.after(wait, func() {
		f.lossTimer = false
		if f.s.now-f.lastAcked >= wait && f.inFlight > 0 {
			e := Ack{Now: f.s.now}
			for _, n := range f.order {
				if _, ok := f.sent[n]; ok {
					delete(f.sent, n)
					f.inFlight -= packetBytes
					e.Lost = append(e.Lost, Packet{n, packetBytes})
				}
			}
			f.order = nil
			f.cc.OnAck(e)
			f.lastAcked = f.s.now
		}
		f.pump()
	})
}

// rate returns the goodput in Mbit/s since an earlier count of delivered bytes.
func (f *flow) rateSince(delivered int, during time.Duration) float64 {
	return float64(f.delivered-delivered) * 8 / during.Seconds() / 1e6
}
