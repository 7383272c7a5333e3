package enumeration_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/enumeration"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// fuzzedDevice is a device with other descriptors, which answers every request with them.
type fuzzedDevice struct {
	*stagetest.Composite
	descriptors []byte
	requests    int
}

func (d *fuzzedDevice) Info() usb.Info {
	info := usb.Info{Descriptors: d.descriptors, Speed: usb.SpeedFull}
	if p, err := usb.ParseDescriptors(d.descriptors); err == nil {
		value := uint8(0)
		if len(p.Configurations) > 0 {
			value = p.Configurations[0].Value
		}
		p.Describe(&info, value)
	}
	return info
}

func (d *fuzzedDevice) Submit(u *usb.URB) {
	d.requests++
	u.Actual = copy(u.Data, d.descriptors)
	u.Finish(usb.StatusOK)
}

// FuzzDescriptors gives the stage the descriptors and answers of a hostile host, and asks
// for some.
func FuzzDescriptors(f *testing.F) {
	f.Add(stagetest.NewComposite().Info().Descriptors, []byte{1, 0, 3, 0, 3, 1, 15, 0, 0x22, 0})
	f.Fuzz(func(t *testing.T, descriptors, input []byte) {
		if len(descriptors) > 4096 || len(input) > 100 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			dev := &fuzzedDevice{Composite: stagetest.NewComposite(), descriptors: descriptors}
			s, _ := enumeration.New(dev)
			if s == nil {
				return
			}
			defer s.Close()
			s.Begin(nil)
			time.Sleep(time.Second)
			if dev.requests > 200 {
				t.Errorf("the device got %d requests", dev.requests)
			}
			for ; len(input) >= 2; input = input[2:] {
				r := descriptor(input[0], input[1]&15, uint16(input[1]>>4), uint16(input[1]))
				u := &usb.URB{Setup: r.Bytes(), Data: make([]byte, r.Length)}
				if usb.Do(t.Context(), s, u); u.Actual > len(u.Data) {
					t.Fatalf("%d bytes of %d", u.Actual, len(u.Data))
				}
			}
		})
	})
}

// FuzzHostileDriver submits requests of all kinds, cancels some, and takes the path down
// and up. Every URB must complete once, and the device must answer afterwards.
func FuzzHostileDriver(f *testing.F) {
	f.Add([]byte{0, 1, 2, 13, 14, 3, 15, 4, 14, 5, 6})
	f.Add([]byte{5, 6, 7, 8, 9, 13, 13, 0, 10, 11, 12, 0})
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 100 {
			return
		}
		synctest.Test(t, func(t *testing.T) { hostileDriver(t, input) })
	})
}

func hostileDriver(t *testing.T, input []byte) {
	t.Helper()
	requests := []usb.Setup{
		descriptor(1, 0, 0, 18), descriptor(2, 0, 0, 255), descriptor(3, 0, 0, 255), descriptor(3, 1, 0x0409, 255),
		descriptor(15, 0, 0, 5),
		{Type: 0x80, Length: 2},
		{Request: 9, Value: 1},
		{Request: 9, Value: 2},
		{Type: 1, Request: 11, Value: 1},
		{Type: 0x23, Request: 3, Value: 4},
		{Type: 0x40, Request: 1},
		descriptor(3, 9, 0x0409, 255),
		{Type: 0xa1, Request: 0xfe, Index: 1, Length: 1},
	}
	path := stagetest.NewPath(stagetest.NewComposite(), stagetest.PathConfig{
		Delay: 10 * time.Millisecond, Jitter: 5 * time.Millisecond, Seed: uint64(len(input)),
	})
	s := newStage(t, path, nil)
	defer s.Close()
	var all []*usb.URB
	completions := map[*usb.URB]int{}
	var mu sync.Mutex
	for i, b := range input {
		switch n := int(b & 15); {
		case n < len(requests):
			r := requests[n]
			u := &usb.URB{Setup: r.Bytes(), Data: make([]byte, r.Length)}
			u.Done = func(u *usb.URB) {
				mu.Lock()
				defer mu.Unlock()
				completions[u]++
			}
			all = append(all, u)
			s.Submit(u)
		case n == 13 && len(all) > 0:
			s.Cancel(all[(int(b>>4)+i)%len(all)])
		case n == 14:
			path.SetDown(b&16 != 0)
		default:
			time.Sleep(time.Duration(b>>4) * 3 * time.Millisecond)
		}
	}
	path.SetDown(false)
	time.Sleep(time.Second)
	mu.Lock()
	defer mu.Unlock()
	for _, u := range all {
		if completions[u] != 1 {
			t.Fatalf("% x: request % x completed %d times", input, u.Setup, completions[u])
		}
	}
	if status, data, _ := get(t, s, descriptor(1, 0, 0, 18)); status != usb.StatusOK || len(data) != 18 {
		t.Errorf("% x: afterwards the device descriptor has status %d and %d bytes", input, status, len(data))
	}
}
