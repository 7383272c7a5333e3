package stream_test

import (
	"bytes"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/ahead"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/interrupt"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stream"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	rtt = 100 * time.Millisecond
	in  = usb.Endpoint(0x81)
	out = usb.Endpoint(0x02)
)

var limits = ahead.Limits{RoundTrip: func() time.Duration { return rtt }, Transfers: 192}

// debugBridge is the interface of the Android Debug Bridge.
var debugBridge = usb.Interface{Class: 0xff, SubClass: 0x42, Protocol: 1}

func endpoint(e usb.Endpoint, kind usb.TransferType) usb.EndpointDescriptor {
	return usb.EndpointDescriptor{Address: e, Type: kind, MaxPacket: 64, Interval: 4}
}

// echo returns a device that answers every OUT with the same data.
func echo(i usb.Interface, kind usb.TransferType) *stagetest.Peripheral {
	return stagetest.NewPeripheral(stagetest.PeripheralConfig{
		Vendor: 0x1209, Product: 0x000d, Speed: usb.SpeedFull,
		Configuration: stagetest.Configuration(stagetest.Interface(i, endpoint(in, kind), endpoint(out, kind))),
		Receive:       func(d *stagetest.Peripheral, _ usb.Endpoint, data []byte) { d.Report(in, data) },
		Answer: func(s usb.Setup) ([]byte, bool) {
			return []byte{0x06, 0xd0, 0xf1, 0x09, 0x01}, s.Request == 6 && s.Value == 0x2200
		},
	})
}

// above returns a device at a distance, with a stage if there is a plan.
func above(dev usb.Device, plans ...func(usb.Info) ahead.Plan) usb.Device {
	path := stagetest.NewPath(dev, stagetest.PathConfig{Delay: rtt / 2})
	if len(plans) == 0 {
		return path
	}
	return ahead.New(path, plans[0](dev.Info()), limits)
}

// exchange writes requests and reads their responses, as programs with libusb do.
func exchange(t *testing.T, dev usb.Device, count int) {
	t.Helper()
	for n := range count {
		request := []byte{0x6f, byte(n), 1, 2, 3}
		u := &usb.URB{Endpoint: out, Data: bytes.Clone(request)}
		if s := usb.Do(t.Context(), dev, u); s != usb.StatusOK || u.Actual != len(request) {
			t.Fatalf("request %d: status %d, %d bytes", n, s, u.Actual)
		}
		clear(u.Data) // the memory belongs to the program again
		response := &usb.URB{Endpoint: in, Data: make([]byte, 64)}
		s := usb.Do(t.Context(), dev, response)
		if s != usb.StatusOK || !bytes.Equal(response.Data[:response.Actual], request) {
			t.Fatalf("response %d: status %d, % x", n, s, response.Data[:response.Actual])
		}
	}
}

func TestExchangeTakesOneRoundTrip(t *testing.T) {
	const count = 20
	report := usb.Setup{Type: 0x81, Request: 6, Value: 0x2200, Length: 64}
	for name, c := range map[string]struct {
		device *stagetest.Peripheral
		plan   func(usb.Info) ahead.Plan
		want   time.Duration
	}{
		"smart card reader": {echo(usb.Interface{Class: 0x0b}, usb.Bulk), stream.Exchange, rtt},
		"debug bridge":      {echo(debugBridge, usb.Bulk), stream.Exchange, rtt},
		"security key":      {echo(usb.Interface{Class: 3}, usb.Interrupt), interrupt.Plan, rtt},
	} {
		synctest.Test(t, func(t *testing.T) {
			plain := above(c.device)
			began := time.Now()
			exchange(t, plain, count)
			if took := time.Since(began) / count; took != 2*rtt {
				t.Errorf("%s: without a stage an exchange takes %v", name, took)
			}
			staged := ahead.New(plain, c.plan(c.device.Info()), limits)
			defer staged.Close()
			usb.Do(t.Context(), staged, &usb.URB{Setup: report.Bytes(), Data: make([]byte, 64)})
			began = time.Now()
			exchange(t, staged, count)
			if took := time.Since(began) / count; took > c.want {
				t.Errorf("%s: an exchange takes %v", name, took)
			}
		})
	}
}

// TestOtherDevicesAreNotAnsweredEarly writes to HID devices and printers.
func TestOtherDevicesAreNotAnsweredEarly(t *testing.T) {
	for name, c := range map[string]struct {
		device *stagetest.Peripheral
		plan   func(usb.Info) ahead.Plan
	}{
		"HID without proof": {echo(usb.Interface{Class: 3}, usb.Interrupt), interrupt.Plan},
		"modem":             {modem(), stream.Serial},
	} {
		synctest.Test(t, func(t *testing.T) {
			dev := above(c.device, c.plan)
			defer dev.Close()
			began := time.Now()
			usb.Do(t.Context(), dev, &usb.URB{Endpoint: out, Data: make([]byte, 9)})
			if took := time.Since(began); took != rtt {
				t.Errorf("%s: a write takes %v, want a round trip", name, took)
			}
		})
	}
}

// TestErrorOfARequestIsReportedOnce halts the OUT endpoint of a smart card reader.
func TestErrorOfARequestIsReportedOnce(t *testing.T) {
	write := func(t *testing.T, dev usb.Device) usb.Status {
		return usb.Do(t.Context(), dev, &usb.URB{Endpoint: out, Data: make([]byte, 9)})
	}
	for _, reads := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			d := echo(usb.Interface{Class: 0x0b}, usb.Bulk)
			dev := above(d, stream.Exchange)
			defer dev.Close()
			d.Halt(out)
			if s := write(t, dev); s != usb.StatusOK {
				t.Fatalf("the request is not answered early: %d", s)
			}
			var s usb.Status
			if reads {
				s = usb.Do(t.Context(), dev, &usb.URB{Endpoint: in, Data: make([]byte, 64)})
			} else {
				time.Sleep(rtt + 1)
				s = write(t, dev)
			}
			if s != usb.StatusStall {
				t.Errorf("the error of the request is reported as %d", s)
			}
			if s := write(t, dev); s != usb.StatusStall { // no longer answered early
				t.Errorf("a request to the halted endpoint ends with %d", s)
			}
			clearHalt := usb.Setup{Type: 2, Request: 1, Index: uint16(out)}
			usb.Do(t.Context(), dev, &usb.URB{Setup: clearHalt.Bytes()})
			exchange(t, dev, 3)
		})
	}
}

// TestBusyDeviceEndsARequest writes to a reader that takes nothing.
func TestBusyDeviceEndsARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := echo(usb.Interface{Class: 0x0b}, usb.Bulk)
		dev := above(d, stream.Exchange)
		defer dev.Close()
		d.SetBusy(out, true)
		usb.Do(t.Context(), dev, &usb.URB{Endpoint: out, Data: make([]byte, 9)})
		began := time.Now()
		control := &usb.URB{Setup: usb.Setup{Type: 0x21, Request: 1}.Bytes()} // ABORT waits for the request
		done := usb.Start(dev, control)
		time.Sleep(time.Second)
		select {
		case <-done:
			t.Error("a control request overtakes the request that was answered early")
		default:
		}
		s := usb.Do(t.Context(), dev, &usb.URB{Endpoint: in, Data: make([]byte, 64)})
		if took := time.Since(began); s != usb.StatusTimeout || took > 6*time.Second {
			t.Errorf("status %d after %v", s, took)
		}
		<-done
		if n := d.Posted(out) + d.Posted(in); n != 0 {
			t.Errorf("%d transfers are posted", n)
		}
	})
}

// modem returns a CDC-ACM device.
func modem() *stagetest.Peripheral {
	return stagetest.NewPeripheral(stagetest.PeripheralConfig{
		Vendor: 0x1209, Product: 0x000e, Speed: usb.SpeedFull,
		Configuration: stagetest.Configuration(
			stagetest.Interface(usb.Interface{Class: 2, SubClass: 2}, endpoint(0x83, usb.Interrupt)),
			stagetest.Interface(usb.Interface{Number: 1, Class: 0x0a},
				endpoint(in, usb.Bulk), endpoint(out, usb.Bulk))),
	})
}

// TestSerialLineLosesNothing receives 60 kB/s with a driver that keeps two transfers
// posted, from an adapter with a buffer of 512 bytes.
func TestSerialLineLosesNothing(t *testing.T) {
	for _, plans := range [][]func(usb.Info) ahead.Plan{nil, {stream.Serial}} {
		synctest.Test(t, func(t *testing.T) {
			d := modem()
			dev := above(d, plans...)
			defer dev.Close()
			var mu sync.Mutex
			var got []byte
			for range 2 {
				u := &usb.URB{Endpoint: in, Data: make([]byte, 256)}
				u.Done = func(u *usb.URB) {
					mu.Lock()
					got = append(got, u.Data[:u.Actual]...)
					mu.Unlock()
					if u.Status == usb.StatusOK {
						dev.Submit(u)
					}
				}
				dev.Submit(u)
			}
			time.Sleep(rtt)
			lost := 0
			var sent []byte
			for n := range 5000 {
				packet := bytes.Repeat([]byte{byte(n)}, 60)
				if d.Unread(in) >= 8 {
					lost++
				} else {
					d.Report(in, packet)
					sent = append(sent, packet...)
				}
				time.Sleep(time.Millisecond)
			}
			time.Sleep(10 * rtt)
			synctest.Wait()
			if !bytes.Equal(got, sent) {
				t.Errorf("%d of %d bytes arrived in order", len(got), len(sent))
			}
			if (lost == 0) != (plans != nil) {
				t.Errorf("the adapter lost %d of 5000 packets, with a stage: %t", lost, plans != nil)
			}
		})
	}
}
