package agent_test

import (
	"encoding/binary"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/agent/internal/stage"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// oneWay is the delay of the links of these tests.
const oneWay = 50 * time.Millisecond

func dialDistant(_ testing.TB, from, to ident.Key, accept func(link.Link)) link.Link {
	dialing, accepting := linktest.DistantPair(from.ID(), to.ID(), linktest.LAN(), oneWay)
	accept(accepting)
	return dialing
}

// newMouse returns a mouse with a report each interval, in milliseconds.
func newMouse(interval uint8) *stagetest.Peripheral {
	return stagetest.NewPeripheral(stagetest.PeripheralConfig{
		Vendor: 0x1209, Product: 0x000a, Speed: usb.SpeedFull,
		Configuration: stagetest.Configuration(stagetest.Interface(
			usb.Interface{Class: 3, SubClass: 1, Protocol: 2},
			usb.EndpointDescriptor{Address: 0x81, Type: usb.Interrupt, MaxPacket: 8, Interval: interval},
		)),
	})
}

// reportLog receives the reports of a mouse like usbhid in Linux: it keeps one URB posted.
type reportLog struct {
	mu      sync.Mutex
	numbers []uint64
	times   []time.Time
}

func (l *reportLog) start(dev usb.Device) {
	u := &usb.URB{Endpoint: 0x81, Data: make([]byte, 8)}
	u.Done = func(u *usb.URB) {
		if u.Status != usb.StatusOK {
			return
		}
		l.mu.Lock()
		l.numbers = append(l.numbers, binary.LittleEndian.Uint64(u.Data))
		l.times = append(l.times, time.Now())
		l.mu.Unlock()
		dev.Submit(u)
	}
	dev.Submit(u)
}

// moveMouse sends reports until the mouse has sent count. A report that the computer has not
// fetched when the next one is due is lost. It returns when each was sent.
func moveMouse(m *stagetest.Peripheral, count int, interval time.Duration) (sent []time.Time, lost int) {
	for range count {
		if m.Unread(0x81) > 0 {
			lost++
		} else {
			m.Report(0x81, binary.LittleEndian.AppendUint64(nil, uint64(len(sent))))
			sent = append(sent, time.Now())
		}
		time.Sleep(interval)
	}
	return sent, lost
}

// TestReportsOfADistantMouse moves a mouse through whole sessions and a link of 100 ms round
// trip, with and without the stage.
func TestReportsOfADistantMouse(t *testing.T) {
	for _, interval := range []uint8{8, 1} {
		for _, off := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				mouse := newMouse(interval)
				dev := stage.Wrap(throughSession(t, mouse, dialDistant), stage.Config{Off: off})
				defer dev.Close()
				log := &reportLog{}
				log.start(dev)
				time.Sleep(time.Second)
				sent, lost := moveMouse(mouse, 1000, time.Duration(interval)*time.Millisecond)
				time.Sleep(time.Second)
				synctest.Wait()
				if off {
					if lost < 800 {
						t.Errorf("interval %d ms: without the stage the mouse lost %d reports", interval, lost)
					}
					return
				}
				if lost > 0 || len(log.numbers) != len(sent) {
					t.Fatalf("interval %d ms: %d of %d reports arrived, the mouse lost %d",
						interval, len(log.numbers), len(sent), lost)
				}
				var late []time.Duration
				for i, n := range log.numbers {
					if n != uint64(i) {
						t.Fatalf("interval %d ms: report %d in place of %d", interval, n, i)
					}
					late = append(late, log.times[i].Sub(sent[i]))
				}
				slices.Sort(late)
				if p99 := late[len(late)*99/100]; p99 > oneWay+2*time.Millisecond {
					t.Errorf("interval %d ms: p99 %v", interval, p99)
				}
			})
		}
	}
}

// TestReportsSurviveLinkLoss replaces the link again and again while a mouse moves.
func TestReportsSurviveLinkLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mouse := newMouse(8)
		remote, relink := attachThroughSession(t, mouse, dialDistant)
		dev := stage.Wrap(remote, stage.Config{})
		defer dev.Close()
		log := &reportLog{}
		log.start(dev)
		time.Sleep(time.Second)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for range 5 {
				time.Sleep(700 * time.Millisecond)
				relink()
			}
		}()
		sent, _ := moveMouse(mouse, 1000, 8*time.Millisecond)
		<-ended
		time.Sleep(time.Second)
		synctest.Wait()
		if len(log.numbers) != len(sent) {
			t.Fatalf("%d of %d reports arrived", len(log.numbers), len(sent))
		}
		for i, n := range log.numbers {
			if n != uint64(i) {
				t.Fatalf("report %d in place of %d", n, i)
			}
		}
	})
}
