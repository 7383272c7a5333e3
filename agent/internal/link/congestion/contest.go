package congestion

import "time"

const (
	dipGain       = 0.3
	dipInterval   = Time(2 * time.Second)  // without an empty queue
	learnInterval = Time(10 * time.Second) // between two dips in any case
	learnAfter    = Time(time.Second)      // from the end of startup to the first of them
	rivalDips     = 2                      // that have not emptied the queue
	checkGain     = 0.75
	checkInterval = Time(10 * time.Second)
	minCheckTime  = 200 * time.Millisecond
)

// contest tracks the competition with other flows.
//
// During a dip the flow slows down. The flows with this controller see the queue alike, so
// they dip together and empty it. A flow that began while there was a queue does not see it, so
// it also dips at intervals, to learn the round-trip time without a queue. If dips fail, another
// flow fills the queue, usually TCP with CUBIC: a rival.
type contest struct {
	rival  bool    // another flow fills the queue
	slow   float64 // gain during a dip or a check for the rival; 0 outside of both
	least  Time    // earliest end of the dip ...
	limit  Time    // ... and latest end of it, or of the check
	learn  Time    // beginning of the next dip in any case
	ended  Time    // end of the last one
	failed int     // dips in a row that have not emptied the queue
	fair   float64 // bandwidth when the queue was last empty
}

// contend begins and ends dips and checks, and evaluates them.
func (c *Controller) contend(now Time) {
	if c.phase != probe {
		return
	}
	k := &c.contest
	switch {
	case k.slow > 0 && k.rival:
		if now >= k.limit {
			k.rival = now-c.path.emptiedAt >= Time(time.Second)
			c.endDip(now)
		}
	case k.slow > 0:
		if empty := c.path.briefQueue() <= c.path.emptyQueue(); empty && now >= k.least {
			k.failed = 0
			c.endDip(now)
		} else if now >= k.limit {
			k.failed++
			c.endDip(now)
		}
	case k.rival:
		if now > k.ended+checkInterval {
			k.slow, k.limit = checkGain, now+Time(max(minCheckTime, 2*c.path.rtt()))
		}
	case k.failed >= rivalDips:
		k.rival, k.failed = true, 0
		window := max(c.round.inFlight, c.sample.inFlight, int(cubicBeta*k.fair*c.path.rtt().Seconds()))
		c.cubic.start(now, window, c.packet, c.path.queue)
	case now > k.learn:
		c.beginDip(now)
		k.least, k.learn = now+Time(2*c.path.rtt()), now+learnInterval
	case now > max(c.path.emptiedAt, k.ended)+dipInterval:
		c.beginDip(now)
	case c.path.emptiedAt == now:
		k.failed, k.fair = 0, c.path.bandwidth()
	}
}

func (c *Controller) beginDip(now Time) {
	c.contest.slow, c.contest.least = dipGain, now
	c.contest.limit = now + Time(4*c.path.rtt()+2*max(0, c.path.briefQueue()))
}

func (c *Controller) endDip(now Time) {
	c.contest.slow, c.contest.ended = 0, now
	c.gain, c.since = firstCruise, now
}
