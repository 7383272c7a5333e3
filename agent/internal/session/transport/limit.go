package transport

import (
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

const (
	limitTime  = 50 * time.Millisecond // that a burst may take at the limit
	leastBurst = 16 << 10              // bytes
)

// limiter caps the rate of sent frames. Its zero value caps nothing.
type limiter struct {
	bits    atomic.Uint64 // per second
	current atomic.Pointer[rate.Limiter]
}

// set changes the limit, in bits per second; 0 is no limit.
func (l *limiter) set(bits uint64) {
	if l.bits.Swap(bits) == bits {
		return
	}
	if bits == 0 {
		l.current.Store(nil)
		return
	}
	bytes := float64(bits) / 8
	l.current.Store(rate.NewLimiter(rate.Limit(bytes), max(leastBurst, int(bytes*limitTime.Seconds()))))
}

// wait counts the bytes of a frame, and waits until they may be sent. An interactive frame does not wait, but the
// frames after it do. It returns false if stop or ended is closed first.
func (l *limiter) wait(class tunnel.Class, bytes int, stop, ended <-chan struct{}) bool {
	current := l.current.Load()
	if current == nil {
		return true
	}
	var delay time.Duration
	for now := time.Now(); bytes > 0; {
		n := min(bytes, current.Burst())
		delay = current.ReserveN(now, n).DelayFrom(now)
		bytes -= n
	}
	if delay <= 0 || class == tunnel.ClassInteractive {
		return true
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-stop:
	case <-ended:
	}
	return false
}

// allow counts the bytes of a lossy frame, and reports whether they may be sent now.
func (l *limiter) allow(bytes int) bool {
	current := l.current.Load()
	return current == nil || current.AllowN(time.Now(), bytes)
}

// SetLimit caps the rate at which the group sends, in bits per second; 0 is no limit. The limit of the transport also
// applies.
func (g *Group) SetLimit(bits uint64) { g.limit.set(bits) }

// SetLimit caps the rate at which either peer sends to the other, in bits per second; 0 is no limit. The peer learns it
// on the active link, and on each later one.
func (t *Transport) SetLimit(bits uint64) { t.inbox.post(limitEvent{bits}) }

// setLimit handles a limitEvent.
func (t *Transport) setLimit(bits uint64) {
	if t.limit.own == bits {
		return
	}
	t.limit.setOwn(bits)
	t.publish()
	for l := range t.links {
		l.post.sayHello(t.state.hello(l.order))
	}
}

// peerLimit is the limit on all that is sent to the peer: the lower one of the limits of both agents.
type peerLimit struct {
	limiter

	// Owned by Run. In bits per second; 0: no limit.
	own, peer uint64
}

func (l *peerLimit) setOwn(bits uint64) {
	l.own = bits
	l.apply()
}

func (l *peerLimit) setPeer(bits uint64) {
	l.peer = bits
	l.apply()
}

func (l *peerLimit) apply() {
	lower := min(l.own, l.peer)
	if lower == 0 {
		lower = max(l.own, l.peer)
	}
	l.set(lower)
}
