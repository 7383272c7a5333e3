package congestion

import (
	"math"
	"math/rand/v2"
)

// process is a process that shares its processor: it runs and waits in turns, each for a
// random time. Events that arrive while it waits are handled when it runs again.
type process struct {
	rng        *rand.Rand
	wait       Time // mean
	runs, ends Time // the next waiting time
}

func (p *process) runsAt(now Time) Time {
	if p.wait == 0 {
		return now
	}
	for now >= p.ends {
		p.runs = p.ends + Time(p.rng.ExpFloat64()*float64(p.wait))
		p.ends = p.runs + Time(p.rng.ExpFloat64()*float64(p.wait))
	}
	if now < p.runs {
		return now
	}
	return p.ends
}

// bucket is the token bucket of a policer, which drops what exceeds the rate.
type bucket struct {
	size   float64 // bytes; 0 is no policer
	tokens float64
	at     Time
}

func (b *bucket) take(now Time, rate float64, bytes int) bool {
	if b.size == 0 {
		return true
	}
	b.tokens = min(b.size, b.tokens+rate*float64(now-b.at)/8000)
	b.at = now
	if b.tokens < float64(bytes) {
		return false
	}
	b.tokens -= float64(bytes)
	return true
}

// tcp is a model of TCP with CUBIC (RFC 9438) and SACK.
type tcp struct {
	cwnd, ssthresh float64
	wmax           float64
	reno           float64 // the window of the Reno-friendly region, section 4.3
	epoch          Time
	k              float64
	recoverTo      int64
	last           int64
	srtt           float64
}

func newTCP() *tcp { return &tcp{cwnd: 10, ssthresh: math.Inf(1), recoverTo: -1} }

func (c *tcp) OnSent(_ Time, n int64, _, _ int) { c.last = n }
func (c *tcp) Window() int                      { return int(c.cwnd) * packetBytes }
func (c *tcp) NextSend(now Time) Time           { return now }

func (c *tcp) OnAck(e Ack) {
	if e.RTT > 0 {
		c.srtt = e.RTT.Seconds()
	}
	for _, l := range e.Lost {
		if l.Number > c.recoverTo {
			c.recoverTo = c.last
			if c.cwnd < c.wmax {
				c.wmax = c.cwnd * (1 + 0.7) / 2 // fast convergence, section 4.7
			} else {
				c.wmax = c.cwnd
			}
			c.cwnd = max(2, c.cwnd*0.7)
			c.ssthresh = c.cwnd
			c.epoch = 0
		}
	}
	for _, a := range e.Acked {
		if a.Number <= c.recoverTo {
			continue
		}
		if c.cwnd < c.ssthresh {
			c.cwnd++
			continue
		}
		if c.epoch == 0 {
			c.epoch = e.Now
			c.k = math.Cbrt(max(0, c.wmax-c.cwnd) / 0.4)
			c.reno = c.cwnd
		}
		t := float64(e.Now-c.epoch)/1e9 + c.srtt
		c.reno += 3 * (1 - 0.7) / (1 + 0.7) / c.cwnd
		target := max(0.4*math.Pow(t-c.k, 3)+max(c.wmax, c.ssthresh), c.reno)
		if target > c.cwnd {
			c.cwnd += min((target-c.cwnd)/c.cwnd, 0.5)
		} else {
			c.cwnd += 0.01 / c.cwnd
		}
	}
}
