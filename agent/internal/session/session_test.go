package session

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

func TestNewRefusesInvalidConfigs(t *testing.T) {
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

func TestDeviceSurvivesLossWithinTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := newScene(t, 10*time.Millisecond)
		defer sc.end()
		sc.cable.cut(false)
		synctest.Wait()
		_, done := sc.submit(1, epBulkIn, 1000)
		time.Sleep(DefaultBudget - unplugTimeout - time.Second)
		wantPending(t, done)
		if isGone(sc.dev) {
			t.Fatal("the device is gone within the budget")
		}
		sc.connect(newRand(2), false, link.RankRelayUDP, -1)
		wantStatus(t, done, time.Second, usb.StatusOK)
		if sc.logs[0].has(Reset, "") || !sc.logs[0].has(Lost, errCut.Error()) {
			t.Errorf("events: %+v", sc.logs[0].events)
		}
	})
}

func TestBudgetEndsBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := newScene(t, 0)
		defer sc.end()
		_, done := sc.submit(1, epBulkIn, 1000)
		synctest.Wait()
		sc.cable.cut(false)
		// The client unplugs the device early enough for its kernel. The host waits until the end of the budget.
		time.Sleep(DefaultBudget - unplugTimeout - time.Millisecond)
		wantPending(t, done)
		time.Sleep(2 * time.Millisecond)
		wantStatus(t, done, 0, usb.StatusShutdown)
		time.Sleep(unplugTimeout - 10*time.Millisecond)
		if sc.model.closes() != 0 {
			t.Error("the host gives the device back before the budget is over")
		}
		time.Sleep(time.Second)
		if !isGone(sc.dev) || sc.model.closes() != 1 {
			t.Errorf("gone %v, given back %d times", isGone(sc.dev), sc.model.closes())
		}
		_, late := sc.submit(2, epBulkIn, 10)
		wantStatus(t, late, 0, usb.StatusShutdown)
		for _, d := range sc.logs {
			if !d.has(Reset, "no link") {
				t.Errorf("events: %+v", d.events)
			}
		}
		// The next link begins a new session.
		sc.model.mu.Lock()
		sc.model.closed = 0
		sc.model.mu.Unlock()
		sc.connect(newRand(2), false, link.RankHost, -1)
		if err := sc.attach().Close(); err != nil || sc.model.closes() != 1 {
			t.Errorf("close: %v, given back %d times", err, sc.model.closes())
		}
	})
}

func TestRestartedPeerAttachesOnItsFirstLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := newScene(t, 0)
		_, done := sc.submit(1, epBulkIn, 1000)
		synctest.Wait()
		// The client is killed and starts again as another process.
		sc.cable.silence()
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
		if sc.model.closes() != 1 || !sc.logs[1].has(Reset, "lost its state") {
			t.Errorf("given back %d times, events %+v", sc.model.closes(), sc.logs[1].events)
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

func TestStoppedHostUnplugsItsDevicesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := newScene(t, 0)
		defer sc.end()
		_, done := sc.submit(1, epBulkIn, 1000)
		synctest.Wait()
		sc.stop[1]()
		wantStatus(t, done, 100*time.Millisecond, usb.StatusShutdown)
		if !isGone(sc.dev) || !sc.logs[0].has(Reset, "stopped") {
			t.Errorf("gone %v, events %+v", isGone(sc.dev), sc.logs[0].events)
		}
	})
}
