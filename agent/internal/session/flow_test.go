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
		sc := newScene(t, 0)
		first, firstDone := sc.submit(1, epBulkIn, 100)
		synctest.Wait()
		sc.dev.Cancel(first)
		wantStatus(t, firstDone, time.Second, usb.StatusReset)

		// Without a link the host cannot cancel: the URB completes here, at once, and only once.
		second, secondDone := sc.submit(2, epBulkIn, 100)
		third, thirdDone := sc.submit(3, epBulkIn, 100)
		synctest.Wait()
		sc.cable.silence()
		sc.dev.Cancel(second) // the client has not noticed that the link is dead
		synctest.Wait()
		wantPending(t, secondDone)
		sc.cable.cut(false)
		wantStatus(t, secondDone, 0, usb.StatusReset)
		sc.dev.Cancel(third)
		wantStatus(t, thirdDone, 0, usb.StatusReset)
		sc.connect(newRand(2), true, link.RankHost, -1)
		time.Sleep(time.Second)
		wantPending(t, secondDone)
		wantPending(t, thirdDone)
		sc.model.mu.Lock()
		if n := len(sc.model.queues[epBulkIn]); n != 0 {
			t.Errorf("%d cancelled URBs are left on the device", n)
		}
		sc.model.mu.Unlock()
		sc.end()
	})
}

// TestControlRequestFollowsCancelledURBs cancels URBs without a link, then submits a control request, such as one that
// clears a halt. The URBs must not reach the device after the request.
func TestControlRequestFollowsCancelledURBs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := newScene(t, 0)
		sent, sentDone := sc.submit(1, epBulkIn, 100)
		synctest.Wait()
		sc.cable.cut(false)
		synctest.Wait()
		kept, keptDone := sc.submit(2, epBulkIn, 100)
		sc.dev.Cancel(sent)
		sc.dev.Cancel(kept)
		wantStatus(t, sentDone, 0, usb.StatusReset)
		wantStatus(t, keptDone, 0, usb.StatusReset)
		request, requestDone := sc.submit(3, 0, 0)
		d := sc.dev.(*remoteDevice)
		d.mu.Lock()
		if n := d.waiting.Len(); n != 1 {
			t.Errorf("%d URBs wait, want the control request", n)
		}
		d.mu.Unlock()
		sc.connect(newRand(2), true, link.RankHost, -1)
		time.Sleep(time.Second)
		sc.model.mu.Lock()
		if bulk, control := len(sc.model.queues[epBulkIn]), len(sc.model.queues[0]); bulk != 0 || control != 1 {
			t.Errorf("the device has %d cancelled URBs and %d control requests, want 0 and 1", bulk, control)
		}
		sc.model.mu.Unlock()
		sc.dev.Cancel(request)
		wantStatus(t, requestDone, time.Second, usb.StatusReset)
		sc.end()
	})
}

// TestBackpressure submits many more URBs than may be in flight, first on a link that takes nothing and then on one
// that works.
func TestBackpressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := newScene(t, time.Millisecond)
		defer sc.end()
		sc.cable.silence()
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
		kept, waiting := d.flow.unacked, d.waiting.Len()
		if kept > tunnel.MaxInFlightSum || kept < tunnel.MaxInFlightSum/2 || waiting < count/2 {
			t.Errorf("%d bytes kept, %d URBs wait", kept, waiting)
		}
		d.mu.Unlock()
		sc.cable.cut(false)
		sc.connect(newRand(2), true, link.RankHost, -1)
		open.Wait()
		if sc.model.peak > tunnel.MaxInFlightSum {
			t.Errorf("the host had %d bytes at once", sc.model.peak)
		}
		time.Sleep(time.Second)
		if d.mu.Lock(); d.flow.unacked != 0 || d.flow.cost != 0 {
			t.Errorf("%d bytes kept and %d in flight after the last completion", d.flow.unacked, d.flow.cost)
		}
		d.mu.Unlock()
	})
}

// TestAcknowledgementsAreBatched runs small URBs one after the other. One acknowledgement is sent in 25 ms, not one for
// each frame.
func TestAcknowledgementsAreBatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := newScene(t, time.Millisecond)
		defer sc.end()
		time.Sleep(time.Second) // until the link is idle and its timers have expired
		began := time.Now()
		for id := 1; id <= 500; id++ {
			_, done := sc.submit(id, epBulkIn, 64)
			wantStatus(t, done, time.Second, usb.StatusOK)
		}
		most := 2 * (int(time.Since(began)/ackDelay) + 2)
		sc.cable.mu.Lock()
		defer sc.cable.mu.Unlock()
		if sc.cable.acks == 0 || sc.cable.acks > most {
			t.Errorf("%d acknowledgements for 1000 frames in %v, want 1 to %d",
				sc.cable.acks, time.Since(began), most)
		}
	})
}

// TestAcknowledgementsAreSentAgain loses an acknowledgement with its link. Another link, whose Hello is older, takes
// over.
func TestAcknowledgementsAreSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := newScene(t, time.Millisecond)
		defer sc.end()
		sc.connect(newRand(2), true, link.RankRelayUDP, -1)
		time.Sleep(time.Second)
		_, done := sc.submit(1, epBulkIn, 1000)
		wantStatus(t, done, 10*time.Millisecond, usb.StatusOK)
		sc.cable.silence() // before the acknowledgement, which waits for ackDelay
		time.Sleep(time.Second)
		sc.cable.cut(false)
		time.Sleep(time.Second)
		synctest.Wait()
		for x := range sc.b.holders {
			if x.urbs.held != 0 {
				t.Errorf("%d bytes are still kept for an acknowledgement", x.urbs.held)
			}
		}
	})
}
