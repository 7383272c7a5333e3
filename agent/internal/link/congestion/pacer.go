package congestion

import "time"

const (
	pacingInterval = time.Millisecond // shorter timers cost more processor time than they help
	minQuantum     = 2                // packets
	maxQuantum     = 48               // packets: what one system call can send (GSO)
)

// pacer spreads packets over time. Its credit of bytes grows with the rate.
type pacer struct {
	now    Time
	credit float64
}

// quantum returns the bytes that are sent at once.
func quantum(rate float64, packet int) float64 {
	return min(max(rate*pacingInterval.Seconds(), float64(minQuantum*packet)), float64(maxQuantum*packet))
}

func (p *pacer) refill(now Time, rate float64, packet int) {
	most := 2 * quantum(rate, packet)
	if p.now == 0 {
		p.credit = most
	} else {
		p.credit = min(p.credit+rate*float64(max(0, now-p.now))/1e9, most)
	}
	p.now = max(p.now, now)
}

// next returns when the next packet may be sent: at once, or when the credit has reached
// a quantum.
func (p *pacer) next(now Time, rate float64, packet int) Time {
	p.refill(now, rate, packet)
	if p.credit >= float64(packet) {
		return now
	}
	return now + Time((quantum(rate, packet)-p.credit)/rate*1e9)
}

func (p *pacer) spend(now Time, rate float64, packet, bytes int) {
	p.refill(now, rate, packet)
	// Probes are sent without permission (RFC 9002 section 6.2.4), so the debt is bounded.
	p.credit = max(p.credit-float64(bytes), -2*quantum(rate, packet))
}
