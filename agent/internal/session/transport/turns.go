package transport

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

const (
	maxWriting  = 2        // lanes of a class that write at the same time, so that the link never waits for one
	defaultPart = 64 << 10 // bytes
	minPart     = 16 << 10
	partTime    = 10 * time.Millisecond // that the link needs for a part

	// minShare is the part of a link's bytes, as 1/minShare, that a class gets however much more urgent ones write.
	minShare = 8
	// turnTimeout is the time after which a lane loses its turn to one that waits. The receiver of a lane may take
	// nothing for a while, and that must not hold up other lanes.
	turnTimeout = 250 * time.Millisecond
)

// turns decides which lanes write to a link. Interactive lanes write whenever they like. The other ones write their
// frames in parts and wait for their turn before each part:
//
//   - A class waits while a more urgent one has something to write, apart from its minimum share.
//   - Of each class, maxWriting lanes write at the same time, and the other ones take turns. An engine that serves its
//     streams one after the other then delays an interactive frame by a few packets, however many lanes are busy.
//
// A link accepts data only as fast as it sends them. So what waits here is what a more urgent frame overtakes.
type turns struct {
	size atomic.Int64 // of a part; 0: defaultPart

	mu sync.Mutex
	// Guarded by mu, by class.
	writing [tunnel.ClassInteractive][]*turn
	waiting [tunnel.ClassInteractive][]*turn // the first one is next
	passed  [tunnel.ClassInteractive]int     // bytes that more urgent classes have written since this one did
}

// turn is the turn of one lane. It belongs to the goroutine of the lane's writer:
//
//	   take, perhaps after a wait
//	none ──────────────────────► writing ──► none
//	                     again ◄──┘      end
type turn struct {
	turns *turns // nil for an interactive lane, which needs no turn
	class tunnel.Class

	// Guarded by turns.mu.
	bytes   int           // of its part
	since   time.Time     // when it began to write its part
	granted chan struct{} // closed when its wait is over
}

// setRate makes a part as long as the link needs partTime for. The rate is in bytes per second; 0 is unknown.
func (t *turns) setRate(rate float64) {
	if rate > 0 {
		t.size.Store(int64(max(minPart, min(rate*partTime.Seconds(), tunnel.MaxFrame))))
	}
}

// partSize returns the length of the next part of a frame of which that many bytes are left. The last part may be
// longer than the others, so that a few bytes more than a part need no Write of their own.
func (t *turns) partSize(left int) int {
	size := int(t.size.Load())
	if size == 0 {
		size = defaultPart
	}
	if left <= size+size/4 {
		return left
	}
	return size
}

// take waits for the turn of a lane and returns the length of the part that it may write. It is a tunnel.Frame.Part.
func (u *turn) take(left int) int {
	t, part := u.turns, u.turns.partSize(left)
	t.mu.Lock()
	t.remove(u)
	u.bytes = part
	if len(t.waiting[u.class]) == 0 && t.mayWrite(u) {
		t.grant(u)
		t.mu.Unlock()
		return part
	}
	granted := make(chan struct{})
	u.granted = granted
	t.waiting[u.class] = append(t.waiting[u.class], u)
	t.grantWaiting()
	t.mu.Unlock()
	for {
		timeout := time.NewTimer(turnTimeout)
		select {
		case <-granted:
			timeout.Stop()
			return part
		case <-timeout.C:
			t.expire()
		}
	}
}

// end lets other lanes write, because this one has nothing to write now.
func (u *turn) end() {
	if u.turns == nil {
		return
	}
	u.turns.mu.Lock()
	defer u.turns.mu.Unlock()
	if u.turns.remove(u) {
		u.turns.grantWaiting()
	}
}

// expire ends the turns that have lasted for too long.
func (t *turns) expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for class := range t.writing {
		t.writing[class] = slices.DeleteFunc(t.writing[class], func(u *turn) bool {
			return now.Sub(u.since) >= turnTimeout
		})
	}
	t.grantWaiting()
}

// remove ends a turn. It returns false if the turn had ended. mu must be held.
func (t *turns) remove(u *turn) bool {
	i := slices.Index(t.writing[u.class], u)
	if i >= 0 {
		t.writing[u.class] = slices.Delete(t.writing[u.class], i, i+1)
	}
	return i >= 0
}

// grantWaiting lets the lanes write that wait and may write now. mu must be held.
func (t *turns) grantWaiting() {
	for class := len(t.waiting) - 1; class >= 0; class-- {
		for len(t.waiting[class]) > 0 && t.mayWrite(t.waiting[class][0]) {
			u := t.waiting[class][0]
			t.waiting[class] = slices.Delete(t.waiting[class], 0, 1)
			t.grant(u)
			close(u.granted)
			u.granted = nil
		}
	}
}

// mayWrite reports whether a lane may write its part now, if it is the next one of its class. mu must be held.
func (t *turns) mayWrite(u *turn) bool {
	n := len(t.writing[u.class])
	for class := u.class + 1; class < tunnel.ClassInteractive; class++ {
		if len(t.writing[class]) > 0 || len(t.waiting[class]) > 0 {
			return n == 0 && t.passed[u.class] >= (minShare-1)*u.bytes
		}
	}
	return n < maxWriting
}

// grant begins the turn of a lane. mu must be held.
func (t *turns) grant(u *turn) {
	u.since = time.Now()
	t.writing[u.class] = append(t.writing[u.class], u)
	t.passed[u.class] = 0
	for class := range u.class {
		t.passed[class] += u.bytes
	}
}
