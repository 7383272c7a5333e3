package enumeration_test

import (
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

// FuzzDescriptors gives the stage the descriptors and answers of a hostile host, and asks for some.
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
