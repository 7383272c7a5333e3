package session_test

import (
	"runtime"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// load submits URBs to one endpoint, a fixed number at a time.
type load struct {
	dev  usb.Device
	idle chan *usb.URB
}

func newLoad(t testing.TB, dev usb.Device, endpoint usb.Endpoint, size, inFlight int) *load {
	l := &load{dev: dev, idle: make(chan *usb.URB, inFlight)}
	for range inFlight {
		l.idle <- &usb.URB{Endpoint: endpoint, Data: make([]byte, size), Done: func(u *usb.URB) {
			if u.Status != usb.StatusOK || u.Actual != len(u.Data) {
				t.Errorf("URB completed with status %d and %d bytes", u.Status, u.Actual)
			}
			l.idle <- u
		}}
	}
	return l
}

// run submits n URBs and waits until all of them have completed.
func (l *load) run(n int) {
	for range n {
		l.dev.Submit(<-l.idle)
	}
	all := make([]*usb.URB, 0, cap(l.idle))
	for range cap(l.idle) {
		all = append(all, <-l.idle)
	}
	for _, u := range all {
		l.idle <- u
	}
}

// TestURBsReuseMemory bounds the allocations for each URB at both peers and in the link together. In a steady state
// nothing is allocated. The bound leaves room for acknowledgements that a busy machine delays, so that more frames
// are kept. The detector of data races makes sync.Pool drop values at random, so the bound is wider with it.
func TestURBsReuseMemory(t *testing.T) {
	limit, share := 3.0, 1
	if linktest.RaceDetector {
		limit, share = 12, 10
	}
	for name, c := range map[string]struct {
		endpoint usb.Endpoint
		size     int
		count    int
	}{
		"interrupt": {echoInterruptIn, 8, 20_000},
		"bulk in":   {echoBulkIn, 64 << 10, 2000},
		"bulk out":  {echoBulkOut, 64 << 10, 2000},
	} {
		c.count /= share
		t.Run(name, func(t *testing.T) {
			urbs := newLoad(t, attachOverMemory(t), c.endpoint, c.size, 8)
			urbs.run(c.count)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			urbs.run(c.count)
			runtime.ReadMemStats(&after)
			if each := float64(after.Mallocs-before.Mallocs) / float64(c.count); each > limit {
				t.Errorf("%.1f allocations for each URB, want at most %.0f", each, limit)
			}
		})
	}
}
