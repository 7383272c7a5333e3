package congestion

import (
	"math"
	"slices"
	"time"
)

// Time is a moment on the caller's monotonic clock, in nanoseconds.
type Time int64

// Packet is an acknowledged or lost packet.
type Packet struct {
	Number int64
	Bytes  int
}

// Ack is what one acknowledgement, or one expired loss timer, has brought to light.
type Ack struct {
	Now           Time
	RTT           time.Duration // of the largest newly acknowledged packet; 0 if there is none
	PriorInFlight int           // bytes, before this event
	Acked, Lost   []Packet
}

const (
	startupGain = 2.77
	drainGain   = 0.36
	windowGain  = 2.0

	initialPackets = 64
	minPackets     = 16

	idleAfter = Time(2 * time.Millisecond)

	bandwidthRounds = 10
	minRTTWindow    = Time(30 * time.Second)
	initialRTT      = 50 * time.Millisecond
)

type phase uint8

const (
	startup phase = iota
	drain
	probe
)

// record is a packet in flight.
type record struct {
	number      int64
	bytes       int
	sentAt      Time
	delivered   int64
	deliveredAt Time
	firstSentAt Time
	limited     bool
}

type mark struct {
	at        Time
	delivered int64
}

// Controller controls one connection.
type Controller struct {
	mss int

	// Delivery.
	records     []record // a ring by packet number
	last        int64
	delivered   int64
	deliveredAt Time
	firstSentAt Time
	openSince   Time  // when the next packet was permitted; 0 while it is not
	limitedTo   int64 // delivered bytes until which samples are limited by the application
	inFlight    int

	// Rounds.
	round      int
	roundEnd   int64         // delivered bytes at which the round ends
	roundRTT   time.Duration // least of the round
	roundMax   time.Duration // largest of the round
	roundLost  int
	roundAcked int
	roundFull  bool // not limited by the application

	// Model.
	best     [bandwidthRounds]float64 // bytes per second, the largest sample of each round
	minRTT   time.Duration
	minRTTAt Time

	// Startup.
	full float64
	flat int

	phase   phase
	cycle   int
	cycleAt Time

	// Queue and competition.
	queued      time.Duration    // least delay in the queue in the last round
	recent      [4]time.Duration // least RTT of each of the last rounds
	rounds      int
	spread      time.Duration // RTT spread of the last round
	emptiedAt   Time          // last time the queue was seen empty
	baseline    float64       // loss rate that comes without a queue
	topRTT      time.Duration // largest RTT since minRTT was taken, decaying
	roundHigh   int           // packets lost in this round while the queue was full
	inflightMax int           // of this round

	// A bound on the window after congestion, which grows as CUBIC's does.
	bounded bool
	wmax    float64 // packets
	epoch   Time
	k       float64 // seconds until wmax is reached again

	rivalled bool // somebody else keeps the queue full
	checkAt  Time // next time to look whether that is still so
	checking bool

	marks [64]mark // delivery at the end of each round

	// Pacing.
	credit float64
	paced  Time
}

// New returns a controller for packets of up to mss bytes.
func New(mss int) *Controller {
	return &Controller{mss: mss, records: make([]record, 1024)}
}

func (c *Controller) bandwidth() float64 {
	b := 0.0
	for _, v := range c.best {
		b = max(b, v)
	}
	return b
}

func (c *Controller) base() time.Duration {
	if c.minRTT == 0 {
		return initialRTT
	}
	return c.minRTT
}

func (c *Controller) bdp() float64 { return c.bandwidth() * c.base().Seconds() }

var gains = [8]float64{1.25, 0.75, 1, 1, 1, 1, 1, 1}

func (c *Controller) gain() float64 {
	switch c.phase {
	case startup:
		return startupGain
	case drain:
		return drainGain
	}
	g := gains[c.cycle]
	switch {
	case g == 1 && c.queued > max(10*time.Millisecond, c.base()/8):
		g = 0.9
	}
	return g
}

// Rate is the pacing rate in bytes per second.
func (c *Controller) Rate() float64 {
	b := c.bandwidth()
	if b == 0 {
		return startupGain * initialPackets * float64(c.mss) / c.base().Seconds()
	}
	r := c.gain() * b
	if c.phase == probe {
		switch {
		case c.checking:
			r = 0.75 * b
		case c.rivalled:
			r = 1.25 * c.bound(c.paced) / (c.base() + c.queued).Seconds()
		case c.bounded:
			r = min(r, c.bound(c.paced)/c.base().Seconds())
		}
	}
	return max(r, float64(c.mss*minPackets))
}

// Window returns how many bytes may be in flight.
func (c *Controller) Window() int {
	least := minPackets * c.mss
	if c.bandwidth() == 0 {
		return initialPackets * c.mss
	}
	g := windowGain
	if c.phase == startup {
		g = startupGain
		least = initialPackets * c.mss
	}
	w := g * c.bdp()
	if c.phase == probe {
		switch {
		case c.checking:
			w = 0.75 * c.bdp()
		case c.rivalled:
			w = c.bound(c.paced)
		case c.bounded:
			w = min(w, c.bound(c.paced))
		}
	}
	return max(int(w), least)
}

func (c *Controller) refill(now Time) {
	r := c.Rate()
	burst := max(16*float64(c.mss), r*0.002)
	if c.paced == 0 {
		c.credit = burst
	} else {
		c.credit = min(c.credit+r*float64(now-c.paced)/1e9, burst)
	}
	c.paced = now
}

// NextSend returns when the next packet may be sent.
func (c *Controller) NextSend(now Time) Time {
	c.refill(now)
	if c.credit >= float64(c.mss) {
		return now
	}
	return now + Time((float64(4*c.mss)-c.credit)/c.Rate()*1e9)
}

// OnSent records a sent packet.
func (c *Controller) OnSent(now Time, number int64, bytes, inFlight int) {
	c.refill(now)
	c.credit -= float64(bytes)
	if inFlight == 0 {
		c.firstSentAt, c.deliveredAt = now, now
	}
	if c.openSince > 0 && now-c.openSince > idleAfter {
		c.limitedTo = max(1, c.delivered+int64(inFlight))
	}
	c.inFlight = inFlight + bytes
	c.inflightMax = max(c.inflightMax, c.inFlight)
	c.open(now)
	c.last = max(c.last, number)
	for i := number & int64(len(c.records)-1); c.records[i].bytes > 0 && c.records[i].number != number; i = number & int64(len(c.records)-1) {
		if len(c.records) >= 1<<17 {
			break
		}
		old := c.records
		c.records = make([]record, 2*len(old))
		for _, r := range old {
			if r.bytes > 0 {
				c.records[r.number&int64(len(c.records)-1)] = r
			}
		}
	}
	c.records[number&int64(len(c.records)-1)] = record{
		number: number, bytes: bytes, sentAt: now, delivered: c.delivered, deliveredAt: c.deliveredAt,
		firstSentAt: c.firstSentAt, limited: c.delivered < c.limitedTo,
	}
}

// open notes since when the controller permits the next packet.
func (c *Controller) open(now Time) {
	c.openSince = 0
	if c.inFlight+c.mss <= c.Window() {
		c.openSince = now
		if c.credit < float64(c.mss) {
			c.openSince += Time((float64(4*c.mss) - c.credit) / c.Rate() * 1e9)
		}
	}
}

func (c *Controller) take(p Packet) (record, bool) {
	r := &c.records[p.Number&int64(len(c.records)-1)]
	if r.bytes == 0 || r.number != p.Number {
		return record{}, false
	}
	got := *r
	r.bytes = 0
	return got, true
}

// OnAck records acknowledged and lost packets.
func (c *Controller) OnAck(e Ack) {
	for _, p := range e.Lost {
		if r, ok := c.take(p); ok {
			c.roundLost += r.bytes
			if c.full > 0 && c.queueFull(e.RTT) {
				c.roundHigh++
			}
			c.inFlight = max(0, c.inFlight-r.bytes)
		}
	}
	var newest record
	for _, p := range e.Acked {
		r, ok := c.take(p)
		if !ok {
			continue
		}
		c.delivered += int64(r.bytes)
		c.roundAcked += r.bytes
		c.inFlight = max(0, c.inFlight-r.bytes)
		if r.sentAt >= newest.sentAt {
			newest = r
		}
	}
	if e.RTT > 0 {
		if c.minRTT == 0 || e.RTT <= c.minRTT || e.Now-c.minRTTAt > minRTTWindow {
			c.minRTT, c.minRTTAt = e.RTT, e.Now
		}
		if c.roundRTT == 0 || e.RTT < c.roundRTT {
			c.roundRTT = e.RTT
		}
		c.roundMax = max(c.roundMax, e.RTT)
		c.topRTT = max(c.topRTT, e.RTT)
	}
	if newest.bytes > 0 {
		c.deliveredAt = e.Now
		c.firstSentAt = newest.sentAt
		span := max(newest.sentAt-newest.firstSentAt, e.Now-newest.deliveredAt)
		if span > 0 && (c.phase == startup || span >= Time(4*c.spread)) {
			c.sample(float64(c.delivered-newest.delivered)/float64(span)*1e9, newest.limited)
		}
		if !newest.limited {
			c.roundFull = true
		}
		if newest.delivered >= c.roundEnd {
			c.endRound(e.Now)
		}
	}
	c.advance(e.Now)
	c.contend(e.Now)
	if c.openSince == 0 {
		c.open(e.Now)
	}
}

// queueFull reports whether the queue was nearly as long as it ever was.
func (c *Controller) queueFull(rtt time.Duration) bool {
	if rtt == 0 {
		rtt = c.minRTT + c.queued
	}
	top := c.topRTT - c.minRTT
	return top > 2*c.emptyQueue() && rtt-c.minRTT > top*6/10
}

func (c *Controller) sample(rate float64, limited bool) {
	if !limited || rate >= c.bandwidth() {
		i := c.round % bandwidthRounds
		c.best[i] = max(c.best[i], rate)
	}
}

// emptyQueue is the delay up to which a queue counts as empty.
func (c *Controller) emptyQueue() time.Duration { return max(3*time.Millisecond, c.minRTT/16) }

const (
	cubicC    = 0.6
	cubicBeta = 0.8
)

func (c *Controller) congestion(now Time) {
	last := c.wmax
	c.wmax = max(float64(c.inflightMax)/float64(c.mss), minPackets)
	if c.bounded && c.wmax < last {
		c.wmax *= (1 + cubicBeta) / 2 // RFC 9438 section 4.7, fast convergence
	}
	c.k = math.Cbrt(c.wmax * (1 - cubicBeta) / cubicC)
	c.epoch = now
	c.bounded = true
}

// bound is the window that CUBIC would allow, in bytes.
func (c *Controller) bound(now Time) float64 {
	t := float64(now-c.epoch)/1e9 - c.k
	return (cubicC*t*t*t + c.wmax) * float64(c.mss)
}

// contend decides whether somebody else keeps the queue full.
func (c *Controller) contend(now Time) {
	if c.phase != probe {
		return
	}
	switch {
	case !c.rivalled && now-c.emptiedAt > Time(max(24*c.base(), 2*time.Second)):
		c.rivalled, c.checking, c.checkAt = true, false, now+Time(10*time.Second)
		if !c.bounded {
			c.wmax, c.k, c.epoch, c.bounded = float64(max(c.inflightMax, c.inFlight))/float64(c.mss), 0, now, true
		}
	case c.rivalled && !c.checking && now > c.checkAt:
		c.checking, c.checkAt = true, now+Time(max(200*time.Millisecond, 2*c.base()))
	case c.rivalled && c.checking && now > c.checkAt:
		c.checking, c.checkAt = false, now+Time(10*time.Second)
		if now-c.emptiedAt < Time(time.Second) {
			c.rivalled = false
			c.cycle, c.cycleAt = 2, now
		}
	}
	if c.bounded && !c.rivalled && c.bound(now) > windowGain*c.bdp() {
		c.bounded = false
	}
}

func (c *Controller) endRound(now Time) {
	loss := float64(c.roundLost) / float64(max(1, c.roundLost+c.roundAcked))
	if c.roundRTT > 0 {
		c.recent[c.rounds%len(c.recent)] = c.roundRTT
		c.rounds++
		c.queued = slices.Min(c.recent[:min(c.rounds, len(c.recent))]) - c.minRTT
		c.spread = c.roundMax - c.roundRTT
		if c.queued <= c.emptyQueue() {
			c.emptiedAt = now
		}
	}
	c.roundEnd = c.delivered
	c.topRTT -= (c.topRTT - c.minRTT) / 128
	full := c.roundFull
	packets := c.roundLost / c.mss
	c.roundRTT, c.roundMax, c.roundLost, c.roundAcked, c.roundFull = 0, 0, 0, 0, false

	if high := float64(c.roundHigh); c.phase == probe &&
		(high >= 2 && loss > 2*c.baseline+0.005 || loss > 0.2 && packets > 8) {
		c.congestion(now)
	}
	c.roundHigh, c.inflightMax = 0, c.inFlight
	c.baseline += (min(loss, 0.2) - c.baseline) / 16
	if !full {
		return
	}
	c.round++
	c.best[c.round%bandwidthRounds] = 0
	// The rate over several rounds, long enough that jitter hardly changes it.
	m := &c.marks[c.round%len(c.marks)]
	*m = mark{now, c.delivered}
	if c.phase != startup {
		for k := 1; k < min(c.round, len(c.marks)); k++ {
			old := c.marks[(c.round-k)%len(c.marks)]
			if span := now - old.at; old.at > 0 && span >= Time(4*c.spread) {
				c.sample(float64(c.delivered-old.delivered)/float64(span)*1e9, false)
				break
			}
		}
	}
	if c.phase == startup {
		if b := c.bandwidth(); b > c.full*1.25 {
			c.full, c.flat = b, 0
		} else if c.flat++; c.flat >= 3 || loss > 0.1 && packets >= 8 {
			c.phase, c.cycleAt = drain, now
		}
	}
}

func (c *Controller) advance(now Time) {
	switch c.phase {
	case drain:
		if float64(c.inFlight) <= c.bdp() || now-c.cycleAt > Time(3*(c.base()+c.queued)) {
			c.phase, c.cycle, c.cycleAt = probe, 2, now
			c.emptiedAt = max(c.emptiedAt, now-Time(c.base()))
		}
	case probe:
		if now-c.cycleAt > Time(c.base()) {
			c.cycle, c.cycleAt = (c.cycle+1)%len(gains), now
			if c.cycle == 0 && c.bounded && c.bound(now) < c.wmax*float64(c.mss) {
				c.cycle = 2
			}
		}
	}
}
