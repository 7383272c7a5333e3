package stagetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// ControlContract runs random control requests, also several at once, on two equal
// devices, one of them behind the stage that wrap returns. It fails if a result or the
// order of the completions differs. It runs in virtual time.
func ControlContract(t *testing.T, seed uint64, open func() usb.Device, wrap func(usb.Device) usb.Device) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(seed, 6))
		path := NewPath(open(), PathConfig{Delay: 20 * time.Millisecond, Jitter: 5 * time.Millisecond, Seed: seed})
		devices := [2]usb.Device{open(), wrap(path)}
		defer func() { _ = devices[0].Close() }()
		defer func() { _ = devices[1].Close() }()
		for n := range 300 {
			batch := make([]usb.Setup, 1+random.IntN(4)*random.IntN(2))
			for i := range batch {
				batch[i] = randomRequest(random)
			}
			plain, got := runControl(devices[0], batch), runControl(devices[1], batch)
			if got != plain {
				t.Fatalf("seed %d, requests %d, %+v:\n%s\nwithout the stage:\n%s", seed, n, batch, got, plain)
			}
			if random.IntN(4) == 0 {
				time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
			}
		}
	})
}

// runControl submits all requests, waits for their completion and describes it.
func runControl(dev usb.Device, batch []usb.Setup) string {
	var mu sync.Mutex
	var order []int
	var done sync.WaitGroup
	urbs := make([]*usb.URB, len(batch))
	for i, s := range batch {
		done.Add(1)
		urbs[i] = &usb.URB{Setup: s.Bytes(), Data: make([]byte, s.Length), Done: func(*usb.URB) {
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
			done.Done()
		}}
		if s.Value%3 == 0 {
			urbs[i].Flags = usb.ShortNotOK
		}
		dev.Submit(urbs[i])
	}
	done.Wait()
	var text bytes.Buffer
	fmt.Fprintln(&text, "order", order)
	for _, u := range urbs {
		fmt.Fprintf(&text, "status %d, %d bytes: % x\n", u.Status, u.Actual, u.Data[:u.Actual])
	}
	return text.String()
}

// randomRequest returns a request that a driver could send, or a hostile one.
func randomRequest(random *rand.Rand) usb.Setup {
	pick := func(list ...uint16) uint16 { return list[random.IntN(len(list))] }
	length := pick(0, 1, 2, 4, 5, 8, 9, 10, 18, 22, 44, 64, 255, 256, 4096)
	switch random.IntN(24) {
	case 0:
		kind, code := uint8(pick(0x80, 0x81, 0x82)), uint8(pick(0, 8, 10))
		return usb.Setup{Type: kind, Request: code, Index: pick(0, 1, 0x81), Length: length}
	case 1:
		return usb.Setup{Request: 9, Value: pick(0, 1, 1, 2)}
	case 2:
		return usb.Setup{Type: 1, Request: 11, Value: pick(0, 1), Index: pick(0, 1)}
	case 3:
		return usb.Setup{Type: 2, Request: 1, Index: pick(0, 0x81, 2)}
	case 4:
		return usb.Setup{Type: 0x23, Request: 3, Value: 4, Index: 1}
	case 5:
		return usb.Setup{Type: uint8(pick(0x40, 0x60, 0xc0, 0xe0)), Request: uint8(pick(0, 6, 0xfe)), Length: length}
	case 6:
		return usb.Setup{Type: 0, Request: 7, Value: pick(0x0300, 0x0302), Length: pick(0, 4)}
	case 7, 8:
		return usb.Setup{Type: 0xa1, Request: uint8(pick(1, 3, 0xfe)), Index: pick(0, 1), Length: length}
	case 9, 10:
		return usb.Setup{Type: 0x81, Request: 6, Value: pick(0x2100, 0x2200, 0x2300), Index: pick(0, 1), Length: length}
	}
	return usb.Setup{
		Type: uint8(pick(0x80, 0x80, 0x80, 0x80, 0x82, 0xa0)), Request: 6,
		Value: pick(1, 2, 3, 3, 3, 6, 7, 15, 0x22)<<8 | pick(0, 0, 1, 2, 3, 4, 5, 9),
		Index: pick(0, 0x0409, 0x0409, 0x0407, 1), Length: length,
	}
}

// Composite is a device that consists of its control endpoint. It has a HID interface, a disk, and
// strings in several languages. Its strings, its report descriptor and its LUN depend
// on the requests that change what a device is.
type Composite struct {
	// Lies replaces the device descriptor that the device sends.
	Lies []byte
	// NumConfigurations replaces bNumConfigurations in Info; 0: 1.
	NumConfigurations byte

	mu       sync.Mutex
	changes  byte // rises with each change of the device
	settings byte // rises with each change of an interface
	requests []usb.Setup
	gone     chan struct{}
	once     sync.Once
}

// NewComposite returns an opened device.
func NewComposite() *Composite { return &Composite{gone: make(chan struct{})} }

// Descriptors of a Composite.
var (
	compositeDevice        = []byte{18, 1, 1, 2, 0, 0, 0, 64, 0x09, 0x12, 10, 0, 0, 1, 1, 2, 3, 1}
	compositeConfiguration = []byte{
		9, 2, 41, 0, 2, 1, 4, 0x80, 50,
		9, 4, 0, 0, 0, 3, 1, 1, 5, 9, 0x21, 0x11, 1, 0, 1, 0x22, 60, 0,
		9, 4, 1, 0, 0, 8, 6, 0x50, 0, 5, 36, 1, 2, 3,
	}
	compositeBOS = []byte{5, 15, 12, 0, 1, 7, 16, 2, 2, 0, 0, 0}
)

// Info implements [usb.Device].
func (d *Composite) Info() usb.Info {
	info := usb.Info{ID: "t-composite", Speed: usb.SpeedFull}
	info.Descriptors = append(append([]byte{}, compositeDevice...), compositeConfiguration...)
	info.Descriptors[17] = max(1, d.NumConfigurations)
	p, err := usb.ParseDescriptors(info.Descriptors)
	if err != nil {
		panic(err)
	}
	p.Describe(&info, 1)
	return info
}

// Requests returns the requests that the device has received.
func (d *Composite) Requests() []usb.Setup {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]usb.Setup{}, d.requests...)
}

// Submit implements [usb.Device].
func (d *Composite) Submit(u *usb.URB) {
	u.Begin(func(u *usb.URB) usb.Status {
		if u.Endpoint.Number() != 0 {
			return usb.StatusInvalid
		}
		s := u.SetupPacket()
		d.mu.Lock()
		d.requests = append(d.requests, s)
		b := d.request(s)
		d.mu.Unlock()
		if b == nil {
			return usb.StatusStall
		}
		u.Actual = copy(u.Data, b[:min(len(b), int(s.Length))])
		status := usb.StatusOK
		if u.In() && u.Actual < len(u.Data) && u.Flags&usb.ShortNotOK != 0 {
			status = usb.StatusShortRead
		}
		u.Finish(status)
		return usb.StatusOK
	})
}

// request runs a request and returns the answer, or nil for a stall. mu must be held.
func (d *Composite) request(s usb.Setup) []byte {
	if s.Type&0x80 == 0 {
		switch c := s.Change(); {
		case c == usb.SetInterface:
			d.settings++
		case c != usb.ClearHalt && (c != usb.SetConfiguration || s.Value != 1):
			d.changes++
		}
		return []byte{}
	}
	switch {
	case s.Type == 0x81 && s.Request == 6 && s.Value == 0x2200 && s.Index == 0:
		return bytes.Repeat([]byte{d.changes, d.settings}, 30)
	case s.Type == 0xa1 && s.Request == 0xfe && s.Index == 1:
		return []byte{d.changes + d.settings}
	case s.Type != 0x80 || s.Request != 6:
		return []byte{s.Type, s.Request, d.changes}
	}
	switch kind, number := s.Value>>8, byte(s.Value); {
	case kind == 1 && number == 0 && d.Lies != nil:
		return d.Lies
	case kind == 1 && number == 0:
		return compositeDevice
	case kind == 2 && number == 0:
		return compositeConfiguration
	case kind == 3 && s.Value == 0x0300:
		return []byte{6, 3, 0x09, 0x04, 0x07, 0x04}
	case kind == 3 && number < 4:
		return []byte{8 + number, 3, number, 0, byte(s.Index), d.changes, 1, 0, 0, 0}
	case kind == 15:
		return compositeBOS
	}
	return nil
}

// Cancel implements [usb.Device]. Nothing is ever pending.
func (d *Composite) Cancel(*usb.URB) {}

// Gone implements [usb.Device].
func (d *Composite) Gone() <-chan struct{} { return d.gone }

// Close implements [usb.Device].
func (d *Composite) Close() error {
	d.once.Do(func() { close(d.gone) })
	return nil
}
