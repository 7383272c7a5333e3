package isochronous

import "time"

const (
	microframe = 125 * time.Microsecond

	// A clock is moved by at most 1/slew of the time that passes, and faster if it is wrong by
	// more than farOff.
	slew     = 200
	fastSlew = 10
	farOff   = 10 * time.Millisecond
)

// clock is the packet clock of an endpoint as this agent follows it. Slot n, the place
// of one packet, begins at epoch + lead + n × interval.
type clock struct {
	interval time.Duration
	epoch    time.Time
	lead     time.Duration
	steered  time.Time
	seen     extremes // of what offset returned for the signs of the device's clock
}

func newClock(interval time.Duration, now time.Time) clock {
	return clock{interval: interval, epoch: now, steered: now}
}

// due returns when a slot begins.
func (c *clock) due(slot uint64) time.Time {
	return c.epoch.Add(c.lead + time.Duration(slot)*c.interval)
}

// next returns the first slot that does not begin before t.
func (c *clock) next(t time.Time) uint64 {
	since := t.Sub(c.epoch) - c.lead
	if since <= 0 {
		return 0
	}
	return uint64((since + c.interval - 1) / c.interval)
}

// offset returns the lead with which a slot would begin at t.
func (c *clock) offset(slot uint64, t time.Time) time.Duration {
	return t.Sub(c.epoch) - time.Duration(slot)*c.interval
}

// steer changes the lead towards a target. A clock that is fast is set back at once:
// that is a pause. A clock that is slow runs faster for a while.
func (c *clock) steer(target time.Duration, now time.Time) {
	c.lead = max(target, c.lead-c.step(target, now))
}

// drift changes the lead towards a target, by a small part of the time that passes.
func (c *clock) drift(target time.Duration, now time.Time) {
	step := c.step(target, now)
	c.lead = min(max(target, c.lead-step), c.lead+step)
}

// step returns by how much the lead may be changed now.
func (c *clock) step(target time.Duration, now time.Time) time.Duration {
	since := now.Sub(c.steered)
	c.steered = now
	if off := target - c.lead; off > farOff || off < -farOff {
		return since / fastSlew
	}
	return since / slew
}

// extremes holds the lowest and the highest of the values of the last one to two
// periods. The first periods are shorter, because the beginning is often exceptional.
type extremes struct {
	period    time.Duration // doubles until it is longest
	longest   time.Duration
	since     time.Time // zero: no value yet
	old       bool      // one period is over
	low, high [2]time.Duration
}

const firstPeriod = time.Second

func newExtremes(longest time.Duration) extremes {
	return extremes{period: min(firstPeriod, longest), longest: longest}
}

// isSettled reports whether the values of a longest period are known.
func (e *extremes) isSettled() bool { return e.old && e.period == e.longest }

func (e *extremes) add(v time.Duration, now time.Time) {
	switch {
	case e.since.IsZero():
		e.since = now
		e.low, e.high = [2]time.Duration{v, v}, [2]time.Duration{v, v}
	case now.Sub(e.since) >= e.period:
		e.since, e.old = now, true
		e.period = min(2*e.period, e.longest)
		e.low[1], e.high[1] = e.low[0], e.high[0]
		e.low[0], e.high[0] = v, v
	}
	e.low[0], e.high[0] = min(e.low[0], v), max(e.high[0], v)
}

func (e *extremes) lowest() time.Duration {
	if e.old {
		return min(e.low[0], e.low[1])
	}
	return e.low[0]
}

func (e *extremes) highest() time.Duration {
	if e.old {
		return max(e.high[0], e.high[1])
	}
	return e.high[0]
}
