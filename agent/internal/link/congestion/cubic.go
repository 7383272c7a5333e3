package congestion

import (
	"math"
	"time"
)

// Constants of CUBIC (RFC 9438 section 5), slightly more aggressive: paced packets get
// a smaller share of a full queue than the bursts of TCP.
const (
	cubicC    = 0.6
	cubicBeta = 0.8
	rivalBeta = 0.7

	cubicQueue = 25 * time.Millisecond
)

// cubic computes the window after congestion.
type cubic struct {
	active bool
	packet float64 // bytes
	c      float64 // growth
	most   float64 // packets in flight at the last congestion
	began  Time
	delay  float64 // seconds until the window is back at most
}

// congestion reduces the window from the given bytes in flight.
func (c *cubic) congestion(now Time, inFlight, packet int, queue time.Duration, beta float64) {
	most := float64(inFlight) / float64(packet)
	if c.active && most < c.most {
		most *= (1 + beta) / 2 // fast convergence, section 4.7
	}
	g := growth(queue)
	*c = cubic{
		active: true, packet: float64(packet), c: g, most: most, began: now,
		delay: math.Cbrt(most * (1 - beta) / g),
	}
}

// start lets the window grow from the given bytes in flight.
func (c *cubic) start(now Time, inFlight, packet int, queue time.Duration) {
	*c = cubic{
		active: true, packet: float64(packet), c: growth(queue), most: float64(inFlight) / float64(packet),
		began: now,
	}
}

// growth returns the constant C. It is larger for a long queue; otherwise the flow would
// need minutes to reach its share.
func growth(queue time.Duration) float64 {
	return cubicC * (1 + queue.Seconds()/cubicQueue.Seconds())
}

// window returns bytes (section 4.2).
func (c *cubic) window(now Time) float64 {
	t := float64(now-c.began)/1e9 - c.delay
	return (c.c*t*t*t + c.most) * c.packet
}

// recovered reports whether the window has reached the size at the last congestion.
func (c *cubic) recovered(now Time) bool { return float64(now-c.began)/1e9 >= c.delay }

const (
	rivalRounds   = 24                     // round trips with a queue that mean another flow, ...
	minRivalTime  = 2 * time.Second        // ... and the least time
	checkInterval = Time(10 * time.Second) // between two checks for the other flow
	minCheckTime  = 200 * time.Millisecond
)

// contest tracks the competition with another flow that fills the queue.
type contest struct {
	rival    bool // another flow fills the queue
	checking bool
	next     Time // end of this check, or start of the next one
}

// contend decides whether another flow keeps the queue full.
func (c *Controller) contend(now Time) {
	if c.phase != probe {
		return
	}
	k, rtt := &c.contest, c.path.rtt()
	switch {
	case !k.rival && now-c.path.emptiedAt > Time(max(rivalRounds*rtt, minRivalTime)):
		*k = contest{rival: true, next: now + checkInterval}
		if !c.cubic.active {
			c.cubic.start(now, max(c.round.inFlight, c.sample.inFlight), c.packet, c.path.queue)
		}
	case k.rival && now > k.next && !k.checking:
		k.checking, k.next = true, now+Time(max(minCheckTime, 2*rtt))
	case k.rival && now > k.next:
		k.checking, k.next = false, now+checkInterval
		if now-c.path.emptiedAt < Time(time.Second) {
			k.rival = false
			c.gain, c.since = firstCruise, now
		}
	}
	if c.cubic.active && !k.rival && c.cubic.window(now) > windowGain*c.path.bandwidth()*rtt.Seconds() {
		c.cubic.active = false
	}
}
