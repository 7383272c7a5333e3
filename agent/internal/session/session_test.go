package session

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// diary is what OnEvent was told.
type diary struct {
	mu     sync.Mutex
	events []Event
}

func (d *diary) note(e Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, e)
}

func (d *diary) has(k EventKind, reason string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.events, func(e Event) bool { return e.Kind == k && strings.Contains(e.Reason, reason) })
}

// scene is a client (a) that uses the model device of a host (b).
type scene struct {
	*pairOf
	model *model
	shelf *shelf
	dev   usb.Device
	wire  *cable
	seen  [2]*diary
}

// setScene attaches a device whose URBs take at most slow; 0: for ever.
func setScene(t *testing.T, slow time.Duration) *scene {
	t.Helper()
	sc := &scene{model: newModel(1, slow), seen: [2]*diary{{}, {}}}
	sc.shelf = &shelf{dev: sc.model}
	sc.pairOf = newPair(t, Config{OnEvent: sc.seen[0].note}, Config{Host: sc.shelf, OnEvent: sc.seen[1].note})
	sc.wire = sc.connect(newRand(1), true, link.RankHost, -1)
	sc.dev = sc.attach()
	synctest.Wait()
	return sc
}

func (sc *scene) attach() usb.Device {
	sc.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dev, err := sc.a.Attach(ctx, tunnel.Attach{Device: "1-1"})
	if err != nil {
		sc.t.Fatal(err)
	}
	return dev
}

// submit starts an URB and returns where it will be once it is complete.
func (sc *scene) submit(id int, e usb.Endpoint, size int) (*usb.URB, chan *usb.URB) {
	done := make(chan *usb.URB, 2)
	u := &usb.URB{Endpoint: e, StartFrame: int32(id), Data: make([]byte, size), Done: func(u *usb.URB) { done <- u }}
	if !e.In() {
		copy(u.Data, pattern(id, size))
	}
	sc.dev.Submit(u)
	return u, done
}

// wantStatus expects that an URB completes within the time.
func wantStatus(t *testing.T, done chan *usb.URB, within time.Duration, want usb.Status) {
	t.Helper()
	synctest.Wait() // what is about to happen has happened
	timer := time.NewTimer(within + 1)
	defer timer.Stop()
	select {
	case u := <-done:
		if u.Status != want {
			t.Errorf("status %d, want %d", u.Status, want)
		}
	case <-timer.C:
		t.Errorf("not complete within %v", within)
	}
}

func wantPending(t *testing.T, done chan *usb.URB) {
	t.Helper()
	select {
	case u := <-done:
		t.Errorf("completed with status %d, should be pending", u.Status)
	default:
	}
}

func isGone(d usb.Device) bool {
	select {
	case <-d.Gone():
		return true
	default:
		return false
	}
}

func TestNewRefusesNonsense(t *testing.T) {
	for name, c := range map[string]Config{
		"no peers":        {},
		"one peer":        {Local: peerID(1)},
		"itself":          {Local: peerID(1), Remote: peerID(1)},
		"negative budget": {Local: peerID(1), Remote: peerID(2), Budget: -1},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSurvivesALossWithinTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := setScene(t, 10*time.Millisecond)
		defer sc.end()
		sc.wire.cut(false)
		synctest.Wait()
		_, done := sc.submit(1, epBulkIn, 1000)
		pause(DefaultBudget - unplugTime - time.Second)
		wantPending(t, done)
		if isGone(sc.dev) {
			t.Fatal("the device is gone within the budget")
		}
		sc.connect(newRand(2), false, link.RankRelayUDP, -1)
		wantStatus(t, done, time.Second, usb.StatusOK)
		if sc.seen[0].has(Reset, "") || !sc.seen[0].has(Lost, errCut.Error()) {
			t.Errorf("events: %+v", sc.seen[0].events)
		}
	})
}

func TestBudgetEndsBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := setScene(t, 0)
		defer sc.end()
		_, done := sc.submit(1, epBulkIn, 1000)
		synctest.Wait()
		sc.wire.cut(false)
		// The client's kernel has time to see the unplug within the budget; the
		// host waits to its end.
		pause(DefaultBudget - unplugTime - time.Millisecond)
		wantPending(t, done)
		pause(2 * time.Millisecond)
		wantStatus(t, done, 0, usb.StatusShutdown)
		pause(unplugTime - 10*time.Millisecond)
		if sc.model.closes() != 0 {
			t.Error("the host gives the device back before the budget is over")
		}
		pause(time.Second)
		if !isGone(sc.dev) || sc.model.closes() != 1 {
			t.Errorf("gone %v, given back %d times", isGone(sc.dev), sc.model.closes())
		}
		_, late := sc.submit(2, epBulkIn, 10)
		wantStatus(t, late, 0, usb.StatusShutdown)
		for _, d := range sc.seen {
			if !d.has(Reset, "no link") {
				t.Errorf("events: %+v", d.events)
			}
		}
		// And it begins anew on the next link.
		sc.model.mu.Lock()
		sc.model.closed = 0
		sc.model.mu.Unlock()
		sc.connect(newRand(2), false, link.RankHost, -1)
		if err := sc.attach().Close(); err != nil || sc.model.closes() != 1 {
			t.Errorf("close: %v, given back %d times", err, sc.model.closes())
		}
	})
}

func TestRestartedPeerBeginsAnewOnItsFirstLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := setScene(t, 0)
		_, done := sc.submit(1, epBulkIn, 1000)
		synctest.Wait()
		// The client dies without a word, and comes back as another process.
		sc.wire.mu.Lock()
		sc.wire.mute = true
		sc.wire.mu.Unlock()
		again, stop := sc.run(Config{Local: peerID(1), Remote: peerID(2), Logger: quiet})
		c := newCable(newRand(3), peerID(1), peerID(2), link.RankHost, -1)
		again.Join(c.ends[0])
		sc.b.Join(c.ends[1])
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		dev, err := again.Attach(ctx, tunnel.Attach{Device: "1-1"})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if sc.model.closes() != 1 || !sc.seen[1].has(Reset, "lost its state") {
			t.Errorf("given back %d times, events %+v", sc.model.closes(), sc.seen[1].events)
		}
		if c.isOver() {
			t.Error("the first link of the restarted peer was closed")
		}
		wantPending(t, done)
		_ = dev.Close()
		stop()
		sc.end()
		wantStatus(t, done, 0, usb.StatusShutdown)
	})
}

func TestOrderlyStopEndsTheOtherSideAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := setScene(t, 0)
		defer sc.end()
		_, done := sc.submit(1, epBulkIn, 1000)
		synctest.Wait()
		sc.stop[1]()
		wantStatus(t, done, 100*time.Millisecond, usb.StatusShutdown)
		if !isGone(sc.dev) || !sc.seen[0].has(Reset, "stopped") {
			t.Errorf("gone %v, events %+v", isGone(sc.dev), sc.seen[0].events)
		}
	})
}

func TestSilentLinkIsDeadAfterNineSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := setScene(t, 0)
		defer sc.end()
		pause(time.Minute) // pings keep an idle link alive
		if !sc.a.Status().Linked || !sc.b.Status().Linked {
			t.Fatal("an idle link died")
		}
		sc.wire.mu.Lock()
		sc.wire.mute = true // every Send blocks from here on
		sc.wire.mu.Unlock()
		pause(deadAfter + time.Second)
		linked, since, ok := sc.b.Holds("1-1")
		if linked || !ok || time.Since(since) > 6*time.Second {
			t.Errorf("holds: linked %v since %v ago, %v", linked, time.Since(since), ok)
		}
		if _, _, ok := sc.b.Holds("9-9"); ok {
			t.Error("holds a device that it does not have")
		}
		// Another peer wants it: the owner takes it back although nobody answers.
		sc.b.Revoke(func(id string) bool { return id == "1-1" }, "another peer takes it")
		if sc.model.closes() != 1 {
			t.Errorf("given back %d times when Revoke returned", sc.model.closes())
		}
		sc.connect(newRand(5), true, link.RankHost, -1)
		pause(time.Second)
		var ended *EndedError
		if !isGone(sc.dev) || !errors.As(sc.dev.(*far).Why(), &ended) || ended.Code != tunnel.CodeRevoked {
			t.Errorf("gone %v: %v", isGone(sc.dev), ended)
		}
	})
}

func TestBetterLinkReplacesWorseOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := setScene(t, 20*time.Millisecond)
		defer sc.end()
		worse := sc.connect(newRand(2), true, link.RankRelayUDP, -1)
		pause(time.Second)
		if st := sc.a.Status(); st.Links[0].Path.Rank != link.RankHost || !st.Links[0].Active {
			t.Errorf("a worse link was taken: %+v", st.Links)
		}
		pause(retireTime)
		if !worse.isOver() || sc.wire.isOver() {
			t.Errorf("the worse link is over: %v; the better one: %v", worse.isOver(), sc.wire.isOver())
		}
		newer := sc.connect(newRand(2), false, link.RankHost, -1)
		pause(time.Second)
		if sc.wire.isOver() {
			t.Error("the replaced link had no grace")
		}
		_, done := sc.submit(1, epBulkOut, 2000)
		wantStatus(t, done, time.Second, usb.StatusOK)
		pause(retireTime)
		if !sc.wire.isOver() || newer.isOver() {
			t.Errorf("the replaced link is over: %v; the newer one: %v", sc.wire.isOver(), newer.isOver())
		}
	})
}

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
		sc.wire.mu.Lock()
		sc.wire.mute = true
		sc.wire.mu.Unlock()
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
		sc.wire.mu.Lock()
		sc.wire.mute = true
		sc.wire.mu.Unlock()
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
		d := sc.dev.(*far)
		d.mu.Lock()
		if d.unacked > tunnel.MaxInFlightSum || d.unacked < tunnel.MaxInFlightSum/2 || len(d.waiting) < count/2 {
			t.Errorf("%d bytes kept, %d URBs wait", d.unacked, len(d.waiting))
		}
		d.mu.Unlock()
		sc.wire.cut(false)
		sc.connect(newRand(2), true, link.RankHost, -1)
		open.Wait()
		if sc.model.peak > tunnel.MaxInFlightSum {
			t.Errorf("the host had %d bytes at once", sc.model.peak)
		}
		pause(time.Second)
		if d.mu.Lock(); d.unacked != 0 || d.cost != 0 {
			t.Errorf("%d bytes kept and %d in flight after the last completion", d.unacked, d.cost)
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
		sc.wire.mu.Lock()
		sc.wire.mute = true // before the acknowledgement, which waits a little
		sc.wire.mu.Unlock()
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
