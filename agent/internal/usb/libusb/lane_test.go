//go:build libusb

package libusb

import (
	"context"
	"sync"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// TestCancelAndPauseOfLane runs URBs through a lane whose transfers last until
// the test releases or cancels them.
func TestCancelAndPauseOfLane(t *testing.T) {
	started, release := make(chan *usb.URB), make(chan struct{})
	l := newLane(func(ctx context.Context, u *usb.URB) usb.Status {
		started <- u
		select {
		case <-ctx.Done():
			return usb.StatusReset
		case <-release:
			return usb.StatusOK
		}
	})
	finished := make(chan *usb.URB, 8)
	var joined sync.WaitGroup
	joined.Go(func() {
		l.work(func(u *usb.URB, s usb.Status) { u.Status = s; finished <- u })
	})
	urbs := make([]*usb.URB, 5)
	for i := range urbs {
		urbs[i] = &usb.URB{}
		l.push(urbs[i])
	}
	expect := func(c <-chan *usb.URB, u *usb.URB, s usb.Status, what string) {
		t.Helper()
		if got := <-c; got != u || got.Status != s {
			t.Errorf("%s: wrong URB, or status %d", what, got.Status)
		}
	}
	expect(started, urbs[0], usb.StatusOK, "first")
	if l.drop(urbs[0]) || !l.drop(urbs[1]) || l.drop(urbs[1]) {
		t.Error("drop must return true for a queued URB only, and only once")
	}
	expect(finished, urbs[0], usb.StatusReset, "cancelled while it ran")
	expect(started, urbs[2], usb.StatusOK, "next")
	release <- struct{}{}
	expect(finished, urbs[2], usb.StatusOK, "next")
	expect(started, urbs[3], usb.StatusOK, "third")
	if rest := l.pause(usb.StatusShutdown); len(rest) != 1 || rest[0] != urbs[4] {
		t.Errorf("pause returns %d URBs", len(rest))
	}
	expect(finished, urbs[3], usb.StatusShutdown, "running at the pause")
	l.push(urbs[1])
	l.resume()
	expect(started, urbs[1], usb.StatusOK, "after the pause")
	release <- struct{}{}
	expect(finished, urbs[1], usb.StatusOK, "after the pause")
	l.end()
	joined.Wait()
}
