package congestion

import (
	"math"
	"time"
)

// Constants of CUBIC (RFC 9438 section 5).
const (
	cubicC    = 0.4
	cubicBeta = 0.8

	cubicQueue = 15 * time.Millisecond
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

// recovered reports whether the window has exceeded the size at the last congestion for a
// while.
func (c *cubic) recovered(now Time) bool { return float64(now-c.began)/1e9 >= 2*c.delay }

// congestion reduces the window from the given bytes in flight.
func (c *cubic) congestion(now Time, inFlight, packet int, queue time.Duration) {
	most := float64(inFlight) / float64(packet)
	if c.active && most < c.most {
		most *= (1 + cubicBeta) / 2 // fast convergence, section 4.7
	}
	g := growth(queue)
	*c = cubic{
		active: true, packet: float64(packet), c: g, most: most, began: now,
		delay: math.Cbrt(most * (1 - cubicBeta) / g),
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
