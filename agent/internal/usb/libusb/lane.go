//go:build libusb

package libusb

import (
	"context"
	"slices"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// lane runs the URBs of one endpoint one after the other: gousb keeps no order
// among several.
type lane struct {
	run func(context.Context, *usb.URB) usb.Status // static

	mu      sync.Mutex
	cond    *sync.Cond // on mu: anything below has changed
	queue   []*usb.URB
	current *usb.URB
	cancel  context.CancelFunc // of current
	instead usb.Status         // what current says if it is cancelled
	paused  bool
	ended   bool
}

func newLane(run func(context.Context, *usb.URB) usb.Status) *lane {
	l := &lane{run: run}
	l.cond = sync.NewCond(&l.mu)
	return l
}

// push queues an URB.
func (l *lane) push(u *usb.URB) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, u)
	l.cond.Broadcast()
}

// drop cancels an URB. It reports whether it took it off the queue, so that
// the caller completes it.
func (l *lane) drop(u *usb.URB) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == u {
		l.instead = usb.StatusReset
		l.cancel()
		return false
	}
	i := slices.Index(l.queue, u)
	if i < 0 {
		return false
	}
	l.queue = slices.Delete(l.queue, i, i+1)
	return true
}

// pause ends what is at work with that status, waits for it, and returns what
// was queued. Until resume nothing is begun.
func (l *lane) pause(s usb.Status) []*usb.URB {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = true
	if l.current != nil {
		l.instead = s
		l.cancel()
	}
	for l.current != nil {
		l.cond.Wait()
	}
	queue := l.queue
	l.queue = nil
	return queue
}

func (l *lane) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = false
	l.cond.Broadcast()
}

// end makes work return.
func (l *lane) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.cond.Broadcast()
}

// work runs URBs until the end and hands each to finish.
func (l *lane) work(finish func(*usb.URB, usb.Status)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for !l.ended && (l.paused || len(l.queue) == 0) {
			l.cond.Wait()
		}
		if l.ended {
			return
		}
		u := l.queue[0]
		l.queue = l.queue[1:]
		ctx, cancel := context.WithCancel(context.Background())
		l.current, l.cancel, l.instead = u, cancel, usb.StatusOK
		l.mu.Unlock()
		status := l.run(ctx, u)
		cancel()
		l.mu.Lock()
		if status.Cancelled() && l.instead != usb.StatusOK {
			status = l.instead
		}
		l.current = nil
		l.cond.Broadcast()
		l.mu.Unlock()
		finish(u, status)
		l.mu.Lock()
	}
}
