package session

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := setScene(t, 0)
		far, farDone := sc.submit(1, epBulkIn, 100)
		synctest.Wait()
		sc.dev.Cancel(far)
		wantStatus(t, farDone, time.Second, usb.StatusReset)

		// Without a link nobody can be asked: here, at once, and only once.
		asked, askedDone := sc.submit(2, epBulkIn, 100)
		later, laterDone := sc.submit(3, epBulkIn, 100)
		synctest.Wait()
		sc.wire.silence()
		sc.dev.Cancel(asked) // still linked, as far as anybody knows
		synctest.Wait()
		wantPending(t, askedDone)
		sc.wire.cut(false)
		wantStatus(t, askedDone, 0, usb.StatusReset)
		sc.dev.Cancel(later)
		wantStatus(t, laterDone, 0, usb.StatusReset)
		sc.connect(newRand(2), true, link.RankHost, -1)
		pause(time.Second)
		wantPending(t, askedDone)
		wantPending(t, laterDone)
		sc.model.mu.Lock()
		if n := len(sc.model.queues[epBulkIn]); n != 0 {
			t.Errorf("%d cancelled URBs are left on the device", n)
		}
		sc.model.mu.Unlock()
		sc.end()
	})
}

// TestBackpressure submits far more than may be in flight, on a link that takes
// nothing and then on one that does.
func TestBackpressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := setScene(t, time.Millisecond)
		defer sc.end()
		sc.wire.silence()
		const size, count = 1 << 20, 100
		var open sync.WaitGroup
		for id := 1; id <= count; id++ {
			u := &usb.URB{Endpoint: epBulkOut, StartFrame: int32(id), Data: pattern(id, size)}
			u.Done = func(u *usb.URB) {
				if u.Status != usb.StatusOK {
					t.Errorf("URB %d: status %d", id, u.Status)
				}
				open.Done()
			}
			open.Add(1)
			sc.dev.Submit(u)
		}
		d := sc.dev.(*remoteDevice)
		d.mu.Lock()
		if d.flow.unacked > tunnel.MaxInFlightSum || d.flow.unacked < tunnel.MaxInFlightSum/2 || d.waiting.Len() < count/2 {
			t.Errorf("%d bytes kept, %d URBs wait", d.flow.unacked, d.waiting.Len())
		}
		d.mu.Unlock()
		sc.wire.cut(false)
		sc.connect(newRand(2), true, link.RankHost, -1)
		open.Wait()
		if sc.model.peak > tunnel.MaxInFlightSum {
			t.Errorf("the host had %d bytes at once", sc.model.peak)
		}
		pause(time.Second)
		if d.mu.Lock(); d.flow.unacked != 0 || d.flow.cost != 0 {
			t.Errorf("%d bytes kept and %d in flight after the last completion", d.flow.unacked, d.flow.cost)
		}
		d.mu.Unlock()
	})
}

// TestAcknowledgementsAreGathered runs small URBs one after the other for a
// while: acknowledgements cost a frame each 25 ms, not one for each frame.
func TestAcknowledgementsAreGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := setScene(t, time.Millisecond)
		defer sc.end()
		pause(time.Second) // the link is idle, and its timers have run
		began := time.Now()
		for id := 1; id <= 500; id++ {
			_, done := sc.submit(id, epBulkIn, 64)
			wantStatus(t, done, time.Second, usb.StatusOK)
		}
		most := 2 * (int(time.Since(began)/ackDelay) + 2)
		sc.wire.mu.Lock()
		defer sc.wire.mu.Unlock()
		if sc.wire.acks == 0 || sc.wire.acks > most {
			t.Errorf("%d acknowledgements for 1000 frames in %v, want 1 to %d", sc.wire.acks, time.Since(began), most)
		}
	})
}

// TestAcknowledgementsAreSaidAgain loses an acknowledgement with its link while
// another link, whose Hello is older, takes over.
func TestAcknowledgementsAreSaidAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := setScene(t, time.Millisecond)
		defer sc.end()
		sc.connect(newRand(2), true, link.RankRelayUDP, -1)
		pause(time.Second)
		_, done := sc.submit(1, epBulkIn, 1000)
		wantStatus(t, done, 10*time.Millisecond, usb.StatusOK)
		sc.wire.silence() // before the acknowledgement, which waits a little
		pause(time.Second)
		sc.wire.cut(false)
		pause(time.Second)
		synctest.Wait()
		for h := range sc.b.holders {
			if h.urbs.held != 0 {
				t.Errorf("%d bytes are still kept for an acknowledgement", h.urbs.held)
			}
		}
	})
}
