package session

import (
	"context"
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

// eventLog records the events of a session.
type eventLog struct {
	mu     sync.Mutex
	events []Event
}

func (d *eventLog) note(e Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, e)
}

func (d *eventLog) has(k EventKind, reason string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.events, func(e Event) bool {
		return e.Kind == k && strings.Contains(e.Reason, reason)
	})
}

// scene is a client (session a) that uses the model device of a host (session b).
type scene struct {
	*sessionPair
	model *model
	host  *testHost
	dev   usb.Device
	cable *cable
	logs  [2]*eventLog
}

// newScene attaches a device whose URBs take at most that long; 0: they never complete.
func newScene(t *testing.T, longest time.Duration) *scene {
	t.Helper()
	sc := &scene{model: newModel(1, longest), logs: [2]*eventLog{{}, {}}}
	sc.host = &testHost{dev: sc.model}
	sc.sessionPair = newPair(t, Config{OnEvent: sc.logs[0].note}, Config{Host: sc.host, OnEvent: sc.logs[1].note})
	sc.cable = sc.connect(newRand(1), true, link.RankHost, -1)
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

// submit submits an URB and returns a channel that receives it when it is complete.
func (sc *scene) submit(id int, e usb.Endpoint, size int) (*usb.URB, chan *usb.URB) {
	done := make(chan *usb.URB, 2)
	u := &usb.URB{Endpoint: e, StartFrame: int32(id), Data: make([]byte, size)}
	u.Done = func(u *usb.URB) { done <- u }
	if !e.In() {
		copy(u.Data, pattern(id, size))
	}
	sc.dev.Submit(u)
	return u, done
}

// wantStatus fails the test unless an URB completes with a status within that time.
func wantStatus(t *testing.T, done chan *usb.URB, within time.Duration, want usb.Status) {
	t.Helper()
	synctest.Wait()
	timer := time.NewTimer(within + 1)
	defer timer.Stop()
	select {
	case u := <-done:
		if u.Status != want {
			t.Errorf("status %d, want %d", u.Status, want)
		}
	case <-timer.C:
		t.Errorf("the URB did not complete within %v", within)
	}
}

func wantPending(t *testing.T, done chan *usb.URB) {
	t.Helper()
	select {
	case u := <-done:
		t.Errorf("the URB completed with status %d, want it pending", u.Status)
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
