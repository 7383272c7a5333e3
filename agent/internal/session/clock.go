package session

import (
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// What a link does by the clock.
const (
	pingEvery  = 4 * time.Second
	deadAfter  = 9 * time.Second  // without any frame from the peer
	helloTime  = 10 * time.Second // for the Hellos to fit
	retireTime = 5 * time.Second  // that a replaced link is kept
	ackDelay   = 25 * time.Millisecond
	ackBytes   = 256 << 10 // received, after which an acknowledgement does not wait
)

// watch ends the link when its time is over.
func (l *linkRun) watch() {
	timer := time.NewTimer(helloTime)
	defer timer.Stop()
	for {
		at, reason := l.deadline()
		left := time.Until(at)
		if left <= 0 && !l.leave(reason) {
			l.end(reason)
			return
		}
		timer.Reset(max(left, 0))
		select {
		case <-l.ended:
			return
		case <-l.changed:
		case <-timer.C:
		}
	}
}

const replaced = "a better path has taken over"

// deadline returns when and why the link ends next.
func (l *linkRun) deadline() (at time.Time, reason string) {
	at = time.Unix(0, l.heard.Load()).Add(deadAfter)
	reason = fmt.Sprintf("nothing came from the peer for %v", deadAfter)
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if hello := l.began.Add(helloTime); !l.isReady && hello.Before(at) {
		at, reason = hello, fmt.Sprintf("the peer did not say a fitting Hello within %v", helloTime)
	}
	if !l.retired.IsZero() {
		grace := l.retired.Add(retireTime)
		if l.left {
			grace = grace.Add(goodbyeTime)
		}
		if grace.Before(at) {
			at, reason = grace, replaced
		}
	}
	return at, reason
}

// leave says goodbye on a link that was replaced, once; the other end closes
// the link then.
func (l *linkRun) leave(reason string) bool {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if reason != replaced || l.left {
		return false
	}
	l.sayGoodbye(replaced)
	return true
}

// sayGoodbye is called with Session.mu held.
func (l *linkRun) sayGoodbye(g tunnel.Goodbye) {
	l.goodbye, l.left = g, true
	l.poke()
}

// write writes lane 0: Hello first, then pings, pongs, acknowledgements and in
// the end Goodbye.
func (l *linkRun) write() {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	acks := time.NewTimer(ackDelay)
	defer acks.Stop()
	armed, due := true, false // acks will fire, has just fired
	var count tunnel.Ping
	for {
		frames, said, wait := l.outgoing(due)
		due = false
		if wait && !armed {
			armed = true
			acks.Reset(ackDelay)
		}
		for _, f := range frames {
			if err := l.link.Send(f); err != nil {
				l.end(sendError(err))
				return
			}
		}
		if said != 0 {
			l.helloSaid(said)
		}
		select {
		case <-l.ended:
			return
		case <-l.wake:
		case <-ping.C:
			count++
			if err := l.link.Send(tunnel.Frame{Kind: tunnel.KindPing, Body: count.Encode()}); err != nil {
				l.end(sendError(err))
				return
			}
		case <-acks.C:
			armed, due = false, true
		}
	}
}
