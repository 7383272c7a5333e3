package storage

import "time"

// Bounds of the window.
const (
	firstWindow = 512 << 10 // bytes, before anything is measured
	maxWindow   = 16 << 20  // bytes

	rateTTL  = 5 * time.Second  // of the greatest rate
	delayTTL = 10 * time.Second // after which an idle sample replaces the delay

	smallTransfer = 64 << 10 // bytes; the duration of longer ones contains their transmission
)

// meter measures the rate and the delay of the path to the device. Its window is the
// number of bytes that may be under way.
//
// A sample of the rate is the number of bytes that arrived during an exchange,
// divided by the duration of the exchange. The meter uses the greatest sample of the
// last seconds. The delay is the duration of the shortest exchange. A longer one
// replaces it only if it was small and nothing else was under way: exchanges that
// wait in a queue must not raise the delay, because the window, and with it the
// queue, would grow without end.
type meter struct {
	arrived int64 // bytes

	rate     [2]float64 // bytes per second: greatest of the last period, and of the current one
	rateFrom time.Time  // begin of the current period
	grown    time.Time  // when the rate last rose by a tenth

	delay     time.Duration // 0: unknown
	delayFrom time.Time
	loaded    time.Duration // the shortest exchange of the current period
	since     time.Time     // begin of that period
}

// start is the state at the start of an exchange.
type start struct {
	at      time.Time
	arrived int64
	idle    bool // nothing else was under way
}

func (m *meter) start(now time.Time, idle bool) start { return start{now, m.arrived, idle} }

// finish measures an exchange that has ended with n bytes for the computer.
func (m *meter) finish(s start, now time.Time, n int) {
	m.arrived += int64(n)
	took := max(now.Sub(s.at), time.Microsecond)
	m.measureDelay(s, now, took, n)
	if now.Sub(m.rateFrom) > rateTTL {
		m.rate[0], m.rate[1], m.rateFrom = m.rate[1], 0, now
	}
	rate := float64(m.arrived-s.arrived) / took.Seconds()
	if rate > 1.1*m.peak() {
		m.grown = now
	}
	m.rate[1] = max(m.rate[1], rate)
}

func (m *meter) measureDelay(s start, now time.Time, took time.Duration, n int) {
	idle := s.idle && n <= smallTransfer
	if m.delay == 0 || took < m.delay || idle && now.Sub(m.delayFrom) > delayTTL {
		m.delay, m.delayFrom = took, now
	}
	if m.loaded == 0 || took < m.loaded {
		m.loaded = took
	}
	if now.Sub(m.since) <= delayTTL {
		return
	}
	// The window of this meter cannot triple the time of an exchange, so the path has
	// changed.
	if !m.since.IsZero() && m.loaded > 3*m.delay {
		m.delay, m.delayFrom = m.loaded/2, now
	}
	m.since, m.loaded = now, 0
}

// peak returns the greatest rate of the last seconds.
func (m *meter) peak() float64 { return max(m.rate[0], m.rate[1]) }

// window returns how many bytes may be under way: 1.5 times what the path holds,
// and more while the measured rate grows, because it cannot exceed the window.
func (m *meter) window(now time.Time) int {
	if m.peak() == 0 {
		return firstWindow
	}
	gain := 1.5
	if now.Sub(m.grown) < 3*m.delay {
		gain = 3
	}
	return int(min(gain*m.peak()*m.delay.Seconds(), maxWindow))
}
