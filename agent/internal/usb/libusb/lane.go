//go:build libusb

package libusb

import (
	"context"
	"slices"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// lane runs the URBs of one endpoint one after the other. gousb does not keep
// the order of several transfers.
type lane struct {
	run func(context.Context, *usb.URB) usb.Status // constant after construction

	mu           sync.Mutex
	cond         *sync.Cond         // on mu: signalled when a field below changes
	queue        []*usb.URB         // oldest first
	current      *usb.URB           // the URB that runs, or nil
	cancel       context.CancelFunc // cancels current
	cancelStatus usb.Status         // status of current if it is cancelled
	paused       bool
	ended        bool
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

// drop cancels an URB. It returns true if the URB was still queued: then the
// caller must complete it.
func (l *lane) drop(u *usb.URB) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == u {
		l.cancelStatus = usb.StatusReset
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

// pause cancels the current URB with status s, waits for its end and returns the
// queued URBs, which the caller must complete. The lane starts no URB until
// resume.
func (l *lane) pause(s usb.Status) []*usb.URB {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = true
	if l.current != nil {
		l.cancelStatus = s
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

// work runs the queued URBs until end is called. It passes each with its status
// to finish.
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
		l.current, l.cancel, l.cancelStatus = u, cancel, usb.StatusOK
		l.mu.Unlock()
		status := l.run(ctx, u)
		cancel()
		l.mu.Lock()
		if status.Cancelled() && l.cancelStatus != usb.StatusOK {
			status = l.cancelStatus
		}
		l.current = nil
		l.cond.Broadcast()
		l.mu.Unlock()
		finish(u, status)
		l.mu.Lock()
	}
}
