package transport

import (
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
)

const (
	sampleInterval = time.Second     // between samples, while acknowledgements arrive
	settleTime     = time.Second     // of a link that begins to be loaded, which does not count
	measureTime    = 3 * time.Second // that a measurement takes
	maxSampleGap   = 3 * time.Second // after which the link was not loaded all the time
	minBacklog     = 16 << 10        // bytes that the peer has yet to acknowledge on a loaded link

	// A link is poor if it loses many packets and is not fast, or if it is slow and a queue stands before it.
	poorLoss    = 0.03
	poorRate    = 20e6 / 8 // bytes per second
	slowRate    = 4e6 / 8
	severeLoss  = 0.08 // poor even if it is fast
	queuedDelay = 20 * time.Millisecond
)

// measurement holds the properties of a link while it was loaded.
type measurement struct {
	rate        float64 // bytes per second that the peer has acknowledged
	loss        float64 // share of the packets
	rtt, minRTT time.Duration
}

// String returns the measurement for people.
func (m measurement) String() string {
	s := fmt.Sprintf("%.1f Mbit/s", m.rate*8/1e6)
	if m.loss >= 0.005 {
		s += fmt.Sprintf(" with %.0f %% loss", 100*m.loss)
	}
	return s
}

// isPoor reports whether another link may well carry more.
func (m measurement) isPoor() bool {
	isQueued := m.minRTT > 0 && m.rtt > 2*m.minRTT+queuedDelay
	return m.loss >= severeLoss || m.loss >= poorLoss && m.rate < poorRate || isQueued && m.rate < slowRate
}

// total holds sums of a state.
type total struct {
	acked   uint64 // bytes that the peer has acknowledged since the beginning
	backlog int    // bytes that it has yet to acknowledge
}

// meter measures what the active link carries.
type meter struct {
	link   link.Link // nil: not loaded
	last   time.Time // sample
	from   time.Time // beginning of the measurement
	acked  uint64    // at that time
	counts bool      // the link has settled
}

// restart makes the meter begin again.
func (m *meter) restart() { m.link = nil }

// sample notes the sums at a time. It returns a measurement each time that the link was loaded for measureTime.
func (m *meter) sample(now time.Time, active link.Link, t total) (measurement, bool) {
	wasLoaded := m.link == active && t.backlog >= minBacklog && now.Sub(m.last) <= maxSampleGap
	m.last = now
	if !wasLoaded {
		*m = meter{last: now, from: now}
		if t.backlog >= minBacklog {
			m.link = active
		}
		return measurement{}, false
	}
	spent := now.Sub(m.from)
	if !m.counts && spent >= settleTime {
		m.counts, m.from, m.acked = true, now, t.acked
		return measurement{}, false
	}
	if !m.counts || spent < measureTime {
		return measurement{}, false
	}
	stats := active.Stats()
	result := measurement{
		rate: float64(t.acked-m.acked) / spent.Seconds(), loss: stats.Loss, rtt: stats.RTT, minRTT: stats.MinRTT,
	}
	m.from, m.acked = now, t.acked
	return result, true
}
