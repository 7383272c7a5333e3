package session

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// TestLimitHoldsInBothDirections uses a device with a limit of 8 Mbit/s. The client sends in one direction, and the
// host in the other.
func TestLimitHoldsInBothDirections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := newScene(t, time.Microsecond)
		defer sc.end()
		if err := sc.dev.Close(); err != nil {
			t.Fatal(err)
		}
		var err error
		sc.dev, err = sc.a.Attach(context.Background(), tunnel.Attach{Device: "1-1", Limit: 8e6})
		if err != nil {
			t.Fatal(err)
		}
		const size, count = 64 << 10, 32 // 2 MiB: 2.1 s
		for _, e := range []usb.Endpoint{epBulkIn, epBulkOut} {
			began := time.Now()
			for id := range count {
				_, done := sc.submit(id+1, e, size)
				defer func() { <-done }()
			}
			for sc.traffic(e) < count*size {
				time.Sleep(10 * time.Millisecond)
			}
			if d := time.Since(began); d < 1900*time.Millisecond || d > 2300*time.Millisecond {
				t.Errorf("endpoint %#x: 2 MiB took %v", uint8(e), d)
			}
		}
		for name, s := range map[string]*Session{"client": sc.a, "host": sc.b} {
			if got := s.Status().Attachments[0].Limit; got != 8e6 {
				t.Errorf("the %s shows a limit of %d", name, got)
			}
		}
	})
}

// traffic returns the bytes of the device that the client has received or the host has taken.
func (sc *scene) traffic(e usb.Endpoint) int {
	if e.In() {
		return int(sc.a.Status().Attachments[0].BytesIn)
	}
	return int(sc.b.Status().Attachments[0].BytesOut)
}
