package congestion

import "time"

// Time is a moment on the caller's monotonic clock, in nanoseconds.
type Time int64

// Packet is a packet that was acknowledged or lost.
type Packet struct {
	Number int64
	Bytes  int
}

// Ack describes an acknowledgement, or the packets that a loss timer declares lost.
type Ack struct {
	Now         Time
	RTT         time.Duration // latest round-trip time; 0 if there is no new one
	Acked, Lost []Packet
}

const (
	startupGain   = 2.77 // 4 ln 2, the least gain that doubles the rate in each round trip
	drainGain     = 0.36 // 1 / startupGain
	windowGain    = 2.0
	windowQuanta  = 3.0       // of the pacer, at least
	drained       = 0.75      // of the bandwidth-delay product in flight: also of flows that came before
	rivalGain     = 1.25      // pacing must not limit a window that follows CUBIC
	fullGrowth    = 1.25      // startup goes on while the bandwidth grows by this factor ...
	fullRounds    = 3         // ... at least once in this many round trips
	probeGrowth   = 1.15      // a probe that finds this much is followed by another one
	startupLoss   = 0.1       // a loss rate that ends startup once the bandwidth grows no more
	severeLoss    = 0.2       // a loss rate that is congestion whatever the queue
	initialWindow = 32        // packets
	minWindow     = 4         // packets
	maxWindow     = 128 << 20 // bytes; 1 Gbit/s at 1 s
)

// probeGains are the pacing gains of successive round trips in the phase probe.
var probeGains = [8]float64{1.25, 0.75, 1, 1, 1, 1, 1, 1}

const firstCruise = 2 // the index of the first gain of 1

type phase uint8

const (
	startup phase = iota
	drain
	probe
)

// Controller controls one connection. It is not safe for concurrent use.
type Controller struct {
	packet int // largest size in bytes
	pacer  pacer
	sample sampler
	path   model
	round  round

	phase   phase
	since   Time    // of the phase or, in probe, of the gain
	gain    int     // index in probeGains
	before  float64 // bandwidth before the probe for more
	full    float64 // largest bandwidth in startup
	flat    int     // round trips without growth
	cubic   cubic
	contest contest
	counts  counts
}

// New returns a controller for packets of up to packetSize bytes. rtt is the first
// measurement of the round-trip time.
func New(packetSize int, rtt time.Duration) *Controller {
	return &Controller{packet: packetSize, path: newModel(rtt)}
}

// SetPacketSize sets the largest size of a packet, in bytes.
func (c *Controller) SetPacketSize(bytes int) { c.packet = bytes }

// Starting reports whether the controller is still in startup.
func (c *Controller) Starting() bool { return c.phase == startup }

// Rate returns the bandwidth of the path in bytes per second, as measured when the
// connection last had enough to send. It is 0 if it never had.
func (c *Controller) Rate() float64 {
	if c.phase == startup {
		return 0
	}
	return c.path.bandwidth()
}

// Loss returns the share of the packets sent lately that were lost, or that were late
// enough to count as lost.
func (c *Controller) Loss() float64 { return c.counts.share() }

// Window returns the number of bytes that may be in flight.
func (c *Controller) Window() int {
	bandwidth := c.path.bandwidth()
	if bandwidth == 0 {
		return initialWindow * c.packet
	}
	product := bandwidth * c.path.rtt().Seconds()
	// Where the round trip is shorter than the processing at both ends, the product would
	// hold packets back that can be sent in one system call.
	least := windowQuanta * quantum(bandwidth, c.packet)
	window := max(windowGain*product, least)
	switch {
	case c.phase == startup:
		window = max(startupGain*product, least, float64(initialWindow*c.packet))
	case c.contest.rival && c.contest.slow == 0:
		window = c.cubic.window(c.pacer.now)
	case c.cubic.active:
		window = min(window, c.cubic.window(c.pacer.now))
	}
	return max(int(min(window, maxWindow)), minWindow*c.packet)
}

// rate returns the pacing rate in bytes per second.
func (c *Controller) rate() float64 {
	bandwidth := c.path.bandwidth()
	if bandwidth == 0 {
		return startupGain * float64(initialWindow*c.packet) / c.path.rtt().Seconds()
	}
	rate := bandwidth
	switch {
	case c.phase == startup:
		// A first rate that the application limited says little about the path.
		rate = startupGain * max(rate, float64(initialWindow*c.packet)/c.path.rtt().Seconds())
	case c.phase == drain:
		rate *= drainGain
	case c.contest.slow > 0:
		rate *= c.contest.slow
	case c.contest.rival:
		rate = rivalGain * c.cubic.window(c.pacer.now) / (c.path.rtt() + c.path.queue).Seconds()
	default:
		rate *= probeGains[c.gain] * c.path.governor()
		if c.cubic.active {
			rate = min(rate, c.cubic.window(c.pacer.now)/c.path.rtt().Seconds())
		}
	}
	return max(rate, float64(minWindow*c.packet))
}

// NextSend returns the time at which pacing permits the next packet, which is now if the
// packet may be sent at once.
func (c *Controller) NextSend(now Time) Time { return c.pacer.ask(now, c.rate(), c.packet) }

// OnSent records an ack-eliciting packet (RFC 9002 section 2). inFlight is the number of bytes
// in flight before it.
func (c *Controller) OnSent(now Time, number int64, bytes, inFlight int) {
	limited := c.pacer.spend(now, c.rate(), c.packet, bytes)
	c.sample.sent(now, number, bytes, inFlight, limited)
	c.round.inFlight = max(c.round.inFlight, inFlight+bytes)
	if inFlight+bytes+c.packet > c.Window() {
		c.pacer.due, c.pacer.late = 0, 0 // the window decides when to continue
	}
}

// OnAck records acknowledged and lost packets.
func (c *Controller) OnAck(a Ack) {
	c.pacer.refill(a.Now, c.rate(), c.packet)
	if a.RTT > 0 {
		// A sender that waits for a processor reads its acknowledgements late.
		a.RTT = max(min(a.RTT, c.path.rtt()), a.RTT-time.Duration(c.pacer.overdue(a.Now)))
		c.path.measure(a.Now, a.RTT)
		c.round.measure(a.RTT)
	}
	full := c.phase == probe && c.path.queueIsFull(a.RTT)
	c.lose(a.Lost, full)
	delivery, ok := c.sample.acked(a.Now, a.Acked)
	if ok {
		c.counts.add(len(a.Acked))
		c.round.acked += delivery.bytes
		if full {
			c.round.ackedInQueue += delivery.bytes
		}
		c.round.busy = c.round.busy || !delivery.limited
		if delivery.span > 0 && (c.phase == startup || delivery.span >= 4*c.path.spread) {
			c.path.offer(delivery.rate(), delivery.limited)
		}
		if delivery.startedAt >= c.round.end {
			c.endRound(a.Now)
		}
	}
	c.contend(a.Now)
	c.advance(a.Now)
}

// lose counts lost packets. full reports whether they met a full queue.
func (c *Controller) lose(packets []Packet, full bool) {
	last := int64(-2)
	for _, p := range packets {
		if !c.sample.lost(p) {
			continue
		}
		c.counts.lost++
		c.round.lost += p.Bytes
		if full {
			c.round.lostInQueue += p.Bytes
		} else if p.Number != last+1 {
			c.round.bursts++
		}
		last = p.Number
	}
}

// endRound evaluates a round trip.
func (c *Controller) endRound(now Time) {
	r := c.round
	c.round = round{end: c.sample.delivered, inFlight: c.sample.inFlight}
	c.path.endRound(now, r)
	loss, lost := r.lossRate(), r.lost/c.packet
	overflow := c.phase == probe && c.path.judgeLoss(r, c.packet)
	if c.phase == probe && (overflow || loss > severeLoss && lost >= 2*minWindow) {
		// The path and its queue hold no more; after startup the rest is lost.
		held := min(r.inFlight, int(c.path.bandwidth()*c.path.top.Seconds()))
		c.cubic.congestion(now, max(held, minWindow*c.packet), c.packet, c.path.queue)
	}
	if c.phase == startup && c.path.queue > c.path.rtt()/2+c.path.queueTarget() {
		c.phase, c.since = drain, now // the link is full, whatever the rate does
	}
	if !r.busy {
		return // the application limits the rate: nothing to learn about the path
	}
	c.path.nextRound(now, c.sample.delivered, c.phase != startup)
	if c.phase != startup {
		return
	}
	if b := c.path.bandwidth(); b > c.full*fullGrowth {
		c.full, c.flat = b, 0
	} else if c.flat++; c.flat >= fullRounds || loss > startupLoss && lost >= 2*minWindow {
		c.phase, c.since = drain, now
	}
}

// advance moves to the next phase or gain when it is due.
func (c *Controller) advance(now Time) {
	rtt := Time(c.path.rtt())
	switch c.phase {
	case drain:
		empty := float64(c.sample.inFlight) <= drained*c.path.bandwidth()*c.path.rtt().Seconds()
		if empty || now-c.since > 3*(rtt+Time(c.path.queue)) {
			c.phase, c.gain, c.since = probe, firstCruise, now
			c.path.emptiedAt = max(c.path.emptiedAt, now-rtt)
			c.contest.learn = now + learnAfter
		}
	case probe:
		if c.cubic.active && !c.contest.rival && c.cubic.recovered(now) {
			c.cubic.active = false
		}
		if now-c.since <= rtt {
			return
		}
		c.gain, c.since = (c.gain+1)%len(probeGains), now
		switch bandwidth := c.path.bandwidth(); {
		case c.gain == 0:
			c.before = bandwidth
		case c.gain == firstCruise && bandwidth > probeGrowth*c.before:
			c.gain, c.before = 0, bandwidth // there is more
		}
	}
}
