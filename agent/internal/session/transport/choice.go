package transport

import (
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
)

const (
	seekTimeout   = 20 * time.Second // in which a link over TCP that was sought must be ready
	trialTimeout  = 15 * time.Second // of a trial in which there is too little to send
	retryInterval = time.Minute      // between two trials of TCP; it doubles up to maxRetryInterval
	stayInterval  = 10 * time.Minute // on TCP until UDP is tried again; it doubles likewise

	maxRetryInterval = 2 * time.Hour

	tcpGain = 1.3 // TCP takes over if it carries this much more than UDP did
	udpGain = 0.9 // UDP gets back if it carries this much of what TCP did
)

// overUDP reports whether somebody on the path can police the link as UDP.
func overUDP(p link.Path) bool { return p.Transport == "quic" }

// mayReplaceUDP reports whether a link may be used in place of a poor one over UDP. It must be encrypted, too.
func mayReplaceUDP(p link.Path) bool { return p.Transport == "tls" }

// choice decides by measurements whether this agent sends over TCP, although a link over UDP has a higher rank. The
// peer decides for what it sends. Transport.Run owns it:
//
//	      poor            link ready                  carries more
//	UDP ────────► seeking ──────────► trial of TCP ─────────────────► TCP
//	 ▲ ▲             │                     │                         │ ▲
//	 │ └─seekTimeout─┘◄────does not────────┘         after a while   │ │ carries less
//	 │                                                               ▼ │
//	 └──────────────────────── carries as much ──────────────── trial of UDP
//
// The interval to the next trial doubles with each one that changes nothing, so links do not flap.
type choice struct {
	meter   meter
	overTCP bool
	trial   bool
	udp     measurement // of the last link over UDP that was loaded
	tcp     measurement // likewise
	seekEnd time.Time   // until when a link over TCP is sought
	began   time.Time   // of the trial
	next    time.Time   // the earliest next trial
	wait    time.Duration
}

// step holds the work that the choice leaves to its transport.
type step uint8

const (
	stepNone step = iota
	stepSeek      // get a link over TCP
	stepMove      // choose the active link again
)

// sample uses a measurement of the active link. other reports whether a link of the other kind is ready.
func (c *choice) sample(now time.Time, active link.Link, t total, other bool) step {
	m, ok := c.meter.sample(now, active, t)
	switch {
	case ok && c.overTCP:
		c.tcp = m
	case ok:
		c.udp = m
	}
	switch {
	case c.trial && ok:
		return c.judge(now)
	case c.trial && now.Sub(c.began) >= trialTimeout:
		return c.revert(now)
	case c.trial || !ok || now.Before(c.next):
		return stepNone
	case c.overTCP && other, !c.overTCP && other && overUDP(active.Info().Path) && m.isPoor():
		return c.try(now)
	case !c.overTCP && overUDP(active.Info().Path) && m.isPoor():
		c.seekEnd = now.Add(seekTimeout)
		c.postpone(now, retryInterval) // in case no link comes
		return stepSeek
	}
	return stepNone
}

// linkReady begins a trial if the link that has become ready was sought.
func (c *choice) linkReady(now time.Time, p link.Path) {
	if mayReplaceUDP(p) && !c.overTCP && now.Before(c.seekEnd) {
		c.try(now)
	}
}

// linkLost notes that no link over TCP is left.
func (c *choice) linkLost() { c.overTCP, c.trial = false, false }

// try begins the trial of the other kind of link.
func (c *choice) try(now time.Time) step {
	c.overTCP, c.trial, c.began, c.seekEnd = !c.overTCP, true, now, time.Time{}
	c.meter.restart()
	return stepMove
}

// judge ends a trial.
func (c *choice) judge(now time.Time) step {
	better := c.tcp.rate >= tcpGain*c.udp.rate
	if !c.overTCP {
		better = c.udp.rate >= udpGain*c.tcp.rate && !c.udp.isPoor()
	}
	if !better {
		return c.revert(now)
	}
	c.trial, c.wait = false, 0
	if c.overTCP {
		c.postpone(now, stayInterval)
	}
	return stepNone
}

// revert ends a trial that has changed nothing.
func (c *choice) revert(now time.Time) step {
	c.overTCP, c.trial = !c.overTCP, false
	c.postpone(now, retryInterval)
	c.meter.restart()
	return stepMove
}

// postpone doubles the interval to the next trial, which is at least least.
func (c *choice) postpone(now time.Time, least time.Duration) {
	c.wait = min(max(2*c.wait, least), maxRetryInterval)
	c.next = now.Add(c.wait)
}

// keepsBoth reports whether the link of the other kind has to stay up.
func (c *choice) keepsBoth() bool { return c.overTCP || c.trial }

// reason returns why this agent sends over TCP, as a text for a person. It is empty if it does not.
func (c *choice) reason() string {
	switch {
	case !c.overTCP:
		return ""
	case c.trial:
		return fmt.Sprintf("UDP carried only %s, so TLS is being tried", c.udp)
	}
	return fmt.Sprintf("UDP carried only %s, TLS carries %s", c.udp, c.tcp)
}
