package ahead_test

import (
	"encoding/binary"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/ahead"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/interrupt"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	rtt     = 100 * time.Millisecond
	mouseIn = usb.Endpoint(0x81)
)

// mouse returns a full-speed boot mouse with a report each interval at most.
func mouse(interval uint8) *stagetest.Peripheral {
	return stagetest.NewPeripheral(stagetest.PeripheralConfig{
		Vendor: 0x1209, Product: 0x000a, Speed: usb.SpeedFull,
		Configuration: stagetest.Configuration(stagetest.Interface(
			usb.Interface{Class: 3, SubClass: 1, Protocol: 2},
			usb.EndpointDescriptor{Address: mouseIn, Type: usb.Interrupt, MaxPacket: 8, Interval: interval},
		)),
	})
}

// stageOf returns a stage with the plan of package interrupt, above a path to a device.
func stageOf(dev usb.Device) *ahead.Stage {
	path := stagetest.NewPath(dev, stagetest.PathConfig{Delay: rtt / 2})
	return ahead.New(path, interrupt.Plan(dev.Info()), ahead.Limits{RoundTrip: path.RoundTrip, Transfers: 192})
}

// poller is a driver that keeps one URB posted, as usbhid does in Linux.
type poller struct {
	dev      usb.Device
	endpoint usb.Endpoint
	length   int

	mu       sync.Mutex
	reports  [][]byte
	times    []time.Time
	statuses []usb.Status
	stopped  bool
	urb      *usb.URB
}

func (p *poller) start() {
	p.mu.Lock()
	p.stopped = false
	p.urb = &usb.URB{Endpoint: p.endpoint, Data: make([]byte, p.length), Done: p.done}
	p.mu.Unlock()
	p.dev.Submit(p.urb)
}

func (p *poller) done(u *usb.URB) {
	p.mu.Lock()
	if u.Status == usb.StatusOK {
		p.reports = append(p.reports, slices.Clone(u.Data[:u.Actual]))
		p.times = append(p.times, time.Now())
	} else {
		p.statuses = append(p.statuses, u.Status)
	}
	again := !p.stopped && u.Status == usb.StatusOK
	p.mu.Unlock()
	if again {
		p.dev.Submit(u)
	}
}

// stop cancels the URB, as a driver does that is unbound or suspended.
func (p *poller) stop() {
	p.mu.Lock()
	p.stopped = true
	u := p.urb
	p.mu.Unlock()
	p.dev.Cancel(u)
}

// taken returns the reports that the driver has received, and when.
func (p *poller) taken() ([][]byte, []time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.reports), slices.Clone(p.times)
}

// move makes the mouse send a report each interval, as long as it can keep one that the
// computer has not fetched. It returns when each was sent, and the number that were lost.
func move(m *stagetest.Peripheral, from, n int, interval time.Duration) (sent []time.Time, lost int) {
	for i := range n {
		if m.Unread(mouseIn) > 0 {
			lost++
		} else {
			m.Report(mouseIn, number(from+i))
			sent = append(sent, time.Now())
		}
		time.Sleep(interval)
	}
	return sent, lost
}

func number(n int) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }

// TestEveryReportOfAMouseArrives moves a mouse again and again, with pauses.
func TestEveryReportOfAMouseArrives(t *testing.T) {
	for _, interval := range []uint8{8, 1} {
		synctest.Test(t, func(t *testing.T) {
			m := mouse(interval)
			s := stageOf(m)
			defer s.Close()
			d := &poller{dev: s, endpoint: mouseIn, length: 8}
			d.start()
			time.Sleep(time.Second)
			var all []time.Time
			for range 5 {
				sent, lost := move(m, len(all), 2000, time.Duration(interval)*time.Millisecond)
				if lost > 0 {
					t.Errorf("interval %d ms: the mouse lost %d reports", interval, lost)
				}
				all = append(all, sent...)
				time.Sleep(time.Minute)
			}
			reports, times := d.taken()
			if len(reports) != len(all) {
				t.Fatalf("interval %d ms: %d of %d reports arrived", interval, len(reports), len(all))
			}
			for i := range all {
				if !slices.Equal(reports[i], number(i)) {
					t.Fatalf("interval %d ms: report %d is % x", interval, i, reports[i])
				}
				if late := times[i].Sub(all[i]); late != rtt/2 {
					t.Fatalf("interval %d ms: report %d arrived after %v", interval, i, late)
				}
			}
			if off, c := s.Stats(); off != "" || c.Commands != int64(len(all)) || c.Hits < c.Commands*9/10 {
				t.Errorf("interval %d ms: %+v", interval, c)
			}
		})
	}
}

func TestIdleMouseCausesNoTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mouse(1)
		s := stageOf(m)
		defer s.Close()
		d := &poller{dev: s, endpoint: mouseIn, length: 8}
		d.start()
		move(m, 0, 100, time.Millisecond)
		time.Sleep(time.Second)
		before := m.Submitted()
		time.Sleep(time.Hour)
		if n := m.Submitted() - before; n != 0 {
			t.Errorf("%d transfers in an idle hour", n)
		}
	})
}

// TestStoppedDriverLeavesNothingPosted stops the driver of a moving mouse, and starts it
// again.
func TestStoppedDriverLeavesNothingPosted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mouse(1)
		s := stageOf(m)
		defer s.Close()
		d := &poller{dev: s, endpoint: mouseIn, length: 8}
		d.start()
		go move(m, 0, 1000, time.Millisecond)
		time.Sleep(500*time.Millisecond + 1)
		d.stop()
		time.Sleep(rtt)
		synctest.Wait()
		if n := m.Posted(mouseIn); n != 0 {
			t.Errorf("%d transfers are posted after the driver has stopped", n)
		}
		before, _ := d.taken()
		if n := len(before); n < 400 || n > 404 { // the first transfer and the last report are under way for 50 ms
			t.Errorf("%d reports before the driver stopped", n)
		}
		time.Sleep(time.Minute)
		m.Report(mouseIn, number(5000))
		d.start()
		time.Sleep(rtt)
		synctest.Wait()
		// The mouse kept one report from the time when it still moved.
		after, _ := d.taken()
		if got := after[len(before):]; len(got) != 2 || !slices.Equal(got[1], number(5000)) {
			t.Errorf("after a minute: % x", got)
		}
	})
}

// TestRequestsLeaveNothingStale sends requests that reset the endpoint while the driver is
// between two URBs.
func TestRequestsLeaveNothingStale(t *testing.T) {
	for name, setup := range map[string]usb.Setup{
		"SET_CONFIGURATION": {Request: 9, Value: 1}, "SET_INTERFACE": {Type: 1, Request: 11},
		"CLEAR_HALT": {Type: 2, Request: 1, Index: uint16(mouseIn)},
		"reset":      {Type: 0x23, Request: 3, Value: 4, Index: 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := mouse(1)
			s := stageOf(m)
			defer s.Close()
			first := &usb.URB{Endpoint: mouseIn, Data: make([]byte, 8)}
			done := usb.Start(s, first)
			time.Sleep(rtt)
			for n := range 5 {
				m.Report(mouseIn, number(n))
			}
			<-done
			if status := usb.Do(t.Context(), s, &usb.URB{Setup: setup.Bytes()}); status != usb.StatusOK {
				t.Errorf("%s: status %d", name, status)
			}
			if n := m.Stale() + m.Posted(mouseIn); n != 0 {
				t.Errorf("%s: %d transfers are posted", name, n)
			}
			m.Report(mouseIn, number(9))
			second := &usb.URB{Endpoint: mouseIn, Data: make([]byte, 8)}
			usb.Do(t.Context(), s, second)
			if !slices.Equal(second.Data, number(9)) {
				t.Errorf("%s: an old report % x", name, second.Data)
			}
		})
	}
}

// TestErrorIsReportedOnce lets transfers of a mouse fail, the driver's alone or all that are
// posted.
func TestErrorIsReportedOnce(t *testing.T) {
	for _, failed := range []int{1, 1000} {
		synctest.Test(t, func(t *testing.T) {
			m := mouse(1)
			s := stageOf(m)
			defer s.Close()
			d := &poller{dev: s, endpoint: mouseIn, length: 8}
			d.start()
			time.Sleep(time.Second)
			m.Fail(mouseIn, failed, usb.StatusProtocol)
			time.Sleep(time.Second)
			if n := m.Posted(mouseIn); n != 0 {
				t.Errorf("%d transfers are posted after an error", n)
			}
			m.Report(mouseIn, number(1))
			d.start()
			time.Sleep(time.Second)
			synctest.Wait()
			if !slices.Equal(d.statuses, []usb.Status{usb.StatusProtocol}) || len(d.reports) != 1 {
				t.Errorf("of %d errors the driver has seen %v, then %d reports", failed, d.statuses, len(d.reports))
			}
		})
	}
}

// TestDriverOnDemandGetsNothingAhead polls a device that also has an OUT endpoint.
func TestDriverOnDemandGetsNothingAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := stagetest.NewPeripheral(stagetest.PeripheralConfig{
			Speed: usb.SpeedFull,
			Configuration: stagetest.Configuration(stagetest.Interface(usb.Interface{Class: 3},
				usb.EndpointDescriptor{Address: mouseIn, Type: usb.Interrupt, MaxPacket: 8, Interval: 1},
				usb.EndpointDescriptor{Address: 0x02, Type: usb.Interrupt, MaxPacket: 8, Interval: 1})),
		})
		s := stageOf(m)
		defer s.Close()
		urbs := [2]*usb.URB{}
		for i := range urbs {
			urbs[i] = &usb.URB{Endpoint: mouseIn, Data: make([]byte, 8)}
			usb.Start(s, urbs[i])
		}
		s.Cancel(urbs[1])
		time.Sleep(time.Second)
		if n := m.Posted(mouseIn); n != 1 {
			t.Errorf("%d transfers are posted for a driver with one", n)
		}
		for n := range 5 { // the driver fetches one report every two seconds
			time.Sleep(2 * time.Second)
			u := &usb.URB{Endpoint: mouseIn, Data: make([]byte, 8)}
			done := usb.Start(s, u)
			for i := range 10 {
				m.Report(mouseIn, number(10*n+i))
			}
			<-done
		}
		if n := m.Unread(mouseIn); n < 35 {
			t.Errorf("the device has %d of 50 reports, the rest was fetched for nobody", n)
		}
	})
}
