package congestion

import (
	"slices"
	"time"
)

const (
	bandwidthRounds = 10 // round trips that the bandwidth remembers
	rttPeriod       = Time(10 * time.Second)
	rttPeriods      = 3 // periods that the least round-trip time remembers
	queueRounds     = 4 // round trips whose least queue counts, so that jitter is no queue
	lossMemory      = 16
	burstMemory     = 4

	// The queue overflows when it has lost this many packets more than random loss explains, or
	// this many times a usual run of losses, as radio links have.
	// The usual loss rate is an estimate, so it is multiplied by usualFactor.
	overflowLoss = 6
	usualFactor  = 1.5
)

// round collects the events of one round trip, which ends when a packet is acknowledged
// that was sent after its beginning.
type round struct {
	end                       int64 // delivered bytes at the beginning
	least, most               time.Duration
	acked, lost               int // bytes
	lostInQueue, ackedInQueue int // bytes, while the queue was full
	bursts                    int // runs of lost packets that met no full queue
	inFlight                  int // the most bytes in flight
	busy                      bool
}

func (r *round) measure(rtt time.Duration) {
	if r.least == 0 || rtt < r.least {
		r.least = rtt
	}
	r.most = max(r.most, rtt)
}

// lossRate returns the share of the bytes that were lost.
func (r *round) lossRate() float64 {
	return float64(r.lost) / float64(max(1, r.lost+r.acked))
}

// mark records the delivered bytes at the end of a round trip.
type mark struct {
	at        Time
	delivered int64
}

// model holds the estimates of the path.
type model struct {
	best   [bandwidthRounds]float64 // largest delivery rate of each round trip, bytes per second
	widest float64                  // the largest of best
	marks  [64]mark
	index  int // of the current round trip, in best and marks

	least  [rttPeriods]time.Duration // least round-trip time of each period; 0: nothing was measured
	floor  time.Duration             // the least of them; at first a guess
	period Time                      // beginning of the current period
	top    time.Duration             // round-trip time with the longest queue, slowly forgotten
	recent [queueRounds]time.Duration
	rounds int
	spread Time          // of the round-trip time within the last round trip
	queue  time.Duration // delay in the queue, the least of some round trips

	brief brief

	emptiedAt Time // when the queue was last empty

	usualLoss float64 // loss rate of packets that meet no full queue
	burst     float64 // mean length of the runs of such losses, in packets
	excess    float64 // packets lost beyond it in a full queue
}

func newModel(rtt time.Duration) model {
	if rtt <= 0 {
		rtt = 100 * time.Millisecond // RFC 9002 section 6.2.2 begins with 333 ms
	}
	return model{floor: rtt}
}

// bandwidth returns bytes per second, 0 if it is unknown.
func (m *model) bandwidth() float64 { return m.widest }

// rtt returns the round-trip time without a queue.
func (m *model) rtt() time.Duration { return m.floor }

func (m *model) measure(now Time, rtt time.Duration) {
	if m.period == 0 || now-m.period > rttPeriod {
		copy(m.least[1:], m.least[:])
		m.least[0], m.period = 0, now
	}
	if m.least[0] == 0 || rtt < m.least[0] {
		m.least[0] = rtt
	}
	m.floor = m.least[0]
	for _, d := range m.least[1:] {
		if d > 0 {
			m.floor = min(m.floor, d)
		}
	}
	m.brief.measure(now, rtt, m.rtt()/2)
	m.top = max(m.top, m.brief.last)
}

// offer adds a delivery rate. A rate that the application limited counts only if it is
// larger than the estimate.
func (m *model) offer(rate float64, limited bool) {
	if !limited || rate > m.bandwidth() {
		i := m.index % bandwidthRounds
		m.best[i] = max(m.best[i], rate)
		m.widest = max(m.widest, rate)
	}
}

// endRound updates the estimate of the queue.
func (m *model) endRound(now Time, r round) {
	if r.least > 0 {
		m.recent[m.rounds%queueRounds] = r.least
		m.rounds++
		m.queue = slices.Min(m.recent[:min(m.rounds, queueRounds)]) - m.rtt()
		m.spread = Time(r.most - r.least)
		if m.queue <= m.emptyQueue() {
			m.emptiedAt = now
		}
	}
	m.top -= (m.top - m.rtt()) / topMemory
}

// judgeLoss learns the usual loss rate from the packets that met no full queue, and
// reports whether those that did were lost more often than that: the queue overflows.
func (m *model) judgeLoss(r round, packet int) bool {
	if lost, acked := r.lost-r.lostInQueue, r.acked-r.ackedInQueue; lost+acked > 0 {
		share := float64(lost) / float64(lost+acked)
		weight := min(1, float64(lost+acked)/float64(r.lost+r.acked)) / lossMemory
		m.usualLoss += (min(share, severeLoss) - m.usualLoss) * weight
		if r.bursts > 0 {
			m.burst += (float64(lost)/float64(r.bursts*packet) - m.burst) / burstMemory
		}
	}
	usual := usualFactor * m.usualLoss * float64(r.lostInQueue+r.ackedInQueue)
	m.excess = max(0, m.excess+(float64(r.lostInQueue)-usual)/float64(packet))
	if m.excess < overflowLoss*max(1, m.burst) {
		return false
	}
	m.excess = 0
	return true
}

// nextRound starts a new entry of the bandwidth filter. If steady, it also offers the
// delivery rate since the latest mark that is old enough for jitter not to matter.
func (m *model) nextRound(now Time, delivered int64, steady bool) {
	m.index++
	m.best[m.index%bandwidthRounds] = 0
	m.widest = slices.Max(m.best[:])
	m.marks[m.index%len(m.marks)] = mark{now, delivered}
	if !steady {
		return
	}
	for back := 1; back < min(m.index, len(m.marks)); back++ {
		old := m.marks[(m.index-back)%len(m.marks)]
		if span := now - old.at; span > 0 && span >= 4*m.spread {
			m.offer(float64(delivered-old.delivered)/float64(span)*1e9, false)
			return
		}
	}
}

// countedPackets is the number of packets after which older ones count half.
const countedPackets = 1 << 13

// counts holds the numbers of packets for people and for the choice among links.
type counts struct{ acked, lost float64 }

func (c *counts) add(acked int) {
	c.acked += float64(acked)
	if c.acked+c.lost > countedPackets {
		c.acked, c.lost = c.acked/2, c.lost/2
	}
}

func (c *counts) share() float64 { return c.lost / max(1, c.lost+c.acked) }
