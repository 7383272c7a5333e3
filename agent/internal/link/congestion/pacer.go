package congestion

import "time"

const (
	// lateLimit bounds the time for which a sender that continues late catches up at once. That
	// is as long as the queue that it may then leave at the bottleneck.
	lateLimit = Time(15 * time.Millisecond)

	// idleTimeout bounds the time for which a sender may leave a permission to send unused.
	// After it, the application limits the rate.
	idleTimeout = Time(4 * time.Millisecond)

	pacingInterval = time.Millisecond // shorter timers cost more processor time than they help
	minQuantum     = 2                // packets
	maxQuantum     = 48               // packets: what one system call can send (GSO)
)

// pacer spreads packets over time. Its credit of bytes grows with the rate.
type pacer struct {
	now     Time
	credit  float64
	due     Time // when the sender is to continue; 0 if it need not wait
	late    Time // how much later than due it continued
	granted Time // since when it may send the next packet; 0 if it has not asked
}

// quantum returns the bytes that are sent at once.
func quantum(rate float64, packet int) float64 {
	return min(max(rate*pacingInterval.Seconds(), float64(minQuantum*packet)), float64(maxQuantum*packet))
}

// refill adds credit for the time since the last call. A sender that continues late, because
// its process had to wait for a processor, catches up.
func (p *pacer) refill(now Time, rate float64, packet int) {
	if p.idle(now) {
		p.late = 0
	}
	most := 2*quantum(rate, packet) + rate*float64(min(max(p.late, p.overdue(now)), lateLimit))/1e9
	if p.now == 0 {
		p.credit = most
	} else {
		p.credit = min(p.credit+rate*float64(max(0, now-p.now))/1e9, most)
	}
	p.now = max(p.now, now)
}

// ask returns when a sender may send its next packet: at once, or when the credit has
// reached a quantum.
func (p *pacer) ask(now Time, rate float64, packet int) Time {
	p.refill(now, rate, packet)
	if p.credit < float64(packet) {
		p.due, p.late, p.granted = now+Time((quantum(rate, packet)-p.credit)/rate*1e9), 0, 0
		return p.due
	}
	if p.due > 0 {
		p.due, p.late = 0, p.overdue(now)
	}
	if p.granted == 0 {
		p.granted = now
	}
	return now
}

// overdue returns for how long the sender has not continued although it may.
func (p *pacer) overdue(now Time) Time {
	if p.due == 0 {
		return 0
	}
	return max(0, now-p.due)
}

// idle reports whether the sender does not use its permission: the application has nothing
// to send.
func (p *pacer) idle(now Time) bool { return p.granted > 0 && now-p.granted > idleTimeout }

// spend records a sent packet. It reports whether the sender sent less than it was permitted
// to, so that the delivery rate says little about the path.
func (p *pacer) spend(now Time, rate float64, packet, bytes int) (limited bool) {
	p.refill(now, rate, packet)
	// Probes are sent without permission (RFC 9002 section 6.2.4), so the debt is bounded.
	p.credit = max(p.credit-float64(bytes), -2*quantum(rate, packet))
	limited = p.idle(now) || p.late > idleTimeout
	p.granted = 0
	return limited
}
