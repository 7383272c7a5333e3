package congestion

import "time"

const (
	// leastQueueTarget is the standing queue that is left alone.
	leastQueueTarget = 10 * time.Millisecond

	minEmptyQueue = 3 * time.Millisecond
	jitterPart    = 2
	topMemory     = 128

	governorSlope = 0.75
	governorFloor = 0.6
)

// brief holds the least round-trip times of the current and of the previous short interval:
// a queue measured over about a round trip, for reactions that must be quick.
type brief struct {
	began       Time
	samples     int
	least, last time.Duration
}

func (b *brief) measure(now Time, rtt, interval time.Duration) {
	if b.samples >= 2 && now-b.began > Time(interval) {
		b.last, b.began, b.samples = b.least, now, 0
	}
	if b.samples == 0 || rtt < b.least {
		b.least = rtt
	}
	b.samples++
}

// briefQueue returns the least queue of about the last round trip.
func (m *model) briefQueue() time.Duration {
	least := m.brief.least
	if m.brief.last > 0 {
		least = min(least, m.brief.last)
	}
	return least - m.rtt()
}

// emptyQueue returns the delay up to which the queue counts as empty.
// Jitter hides a queue shorter than a part of the spread.
func (m *model) emptyQueue() time.Duration {
	return max(minEmptyQueue, m.rtt()/16, time.Duration(m.spread)/jitterPart)
}

// queueIsFull reports whether a round-trip time indicates a queue nearly as long as the
// longest one seen. For 0 it uses the last round trips.
func (m *model) queueIsFull(rtt time.Duration) bool {
	if rtt == 0 {
		rtt = m.rtt() + m.queue
	}
	longest := m.top - m.rtt()
	return longest > 2*m.emptyQueue() && rtt-m.rtt() > longest*6/10
}

// queueTarget returns the standing queue that the flows of a link may keep together. In a
// shallow queue it is half of what the queue holds.
func (m *model) queueTarget() time.Duration {
	return max(minEmptyQueue, min(max(leastQueueTarget, m.rtt()/8), (m.top-m.rtt())/2))
}

// governor returns the factor of the rate that shortens a queue above the target. All flows
// see the same queue, so it does not change their shares. It is proportional, since a larger
// slope oscillates: the queue answers a round trip later.
func (m *model) governor() float64 {
	target := m.queueTarget()
	above := float64(m.briefQueue()-target) / float64(target+m.rtt())
	return min(1, max(governorFloor, 1-governorSlope*above))
}
