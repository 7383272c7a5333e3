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
