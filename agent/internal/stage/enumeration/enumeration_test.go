package enumeration_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/enumeration"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual/virtualtest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newStage(t *testing.T, dev usb.Device, report func(string)) *enumeration.Stage {
	t.Helper()
	s, reason := enumeration.New(dev)
	if s == nil {
		t.Fatal(reason)
	}
	s.Begin(report)
	return s
}

func openDisk(t *testing.T, speed usb.Speed) usb.Device {
	t.Helper()
	disk, _ := virtualtest.Disk(t, virtual.SampleConfig{Size: 8 << 20, Seed: 1}, virtual.DiskConfig{Speed: speed})
	return openVirtual(t, "v-disk", disk)
}

// openVirtual opens a device. The caller closes it, because it may run in virtual time that
// ends before t does.
func openVirtual(t *testing.T, id string, g virtual.Gadget) usb.Device {
	t.Helper()
	dev, err := virtualtest.Bus(t, g).Open(id, usb.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

func TestDriverSeesNoDifference(t *testing.T) {
	for name, open := range map[string]func() usb.Device{
		"composite": func() usb.Device { return stagetest.NewComposite() },
		"keyboard": func() usb.Device {
			return openVirtual(t, "v-keyboard", virtual.NewKeyboard(virtual.KeyboardConfig{}))
		},
		"disk":            func() usb.Device { return openDisk(t, usb.SpeedHigh) },
		"SuperSpeed disk": func() usb.Device { return openDisk(t, usb.SpeedSuper) },
	} {
		for seed := range uint64(6) {
			stagetest.ControlContract(t, seed, open, func(path usb.Device) usb.Device {
				return newStage(t, path, func(detail string) { t.Errorf("%s: %s", name, detail) })
			})
		}
	}
}

const rtt = 50 * time.Millisecond

// inScene runs a test on a composite device behind a path of 50 ms, in virtual time.
func inScene(t *testing.T, run func(*testing.T, *stagetest.Composite, *enumeration.Stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		dev := stagetest.NewComposite()
		s := newStage(t, stagetest.NewPath(dev, stagetest.PathConfig{Delay: rtt / 2}), nil)
		defer s.Close()
		run(t, dev, s)
	})
}

// get runs an IN request and returns its status, its data, and the time that it took.
func get(t *testing.T, dev usb.Device, s usb.Setup) (usb.Status, []byte, time.Duration) {
	t.Helper()
	began := time.Now()
	u := &usb.URB{Setup: s.Bytes(), Data: make([]byte, s.Length)}
	status := usb.Do(t.Context(), dev, u)
	return status, u.Data[:u.Actual], time.Since(began)
}

func descriptor(kind, number uint8, language, length uint16) usb.Setup {
	return usb.Setup{Type: 0x80, Request: 6, Value: uint16(kind)<<8 | uint16(number), Index: language, Length: length}
}

func TestAgreedDescriptorsNeedNoRoundTrip(t *testing.T) {
	inScene(t, func(t *testing.T, dev *stagetest.Composite, s *enumeration.Stage) {
		want := dev.Info().Descriptors
		for _, n := range []uint16{8, 18, 64} {
			status, data, took := get(t, s, descriptor(1, 0, 0, n))
			if status != usb.StatusOK || !slices.Equal(data, want[:min(n, 18)]) || took != 0 {
				t.Errorf("the device descriptor with %d bytes: status %d, % x, after %v", n, status, data, took)
			}
		}
		for _, n := range []uint16{9, 41, 255} {
			status, data, took := get(t, s, descriptor(2, 0, 0, n))
			if status != usb.StatusOK || !slices.Equal(data, want[18:][:min(n, 41)]) || took != 0 {
				t.Errorf("the configuration with %d bytes: status %d, % x, after %v", n, status, data, took)
			}
		}
	})
}

func TestOtherDescriptorsArriveWithinTwoRoundTrips(t *testing.T) {
	inScene(t, func(t *testing.T, _ *stagetest.Composite, s *enumeration.Stage) {
		if _, _, took := get(t, s, descriptor(3, 0, 0, 255)); took != rtt {
			t.Errorf("the languages, asked for at once, took %v", took)
		}
		if _, data, took := get(t, s, descriptor(3, 2, 0x0407, 255)); took != rtt || len(data) != 10 {
			t.Errorf("the product took %v: % x", took, data)
		}
		for name, r := range map[string]usb.Setup{
			"manufacturer": descriptor(3, 1, 0x0409, 255), "its head": descriptor(3, 1, 0x0409, 2),
			"head of the BOS": descriptor(15, 0, 0, 5), "BOS": descriptor(15, 0, 0, 12),
			"report descriptor":            {Type: 0x81, Request: 6, Value: 0x2200, Length: 60},
			"report descriptor of Windows": {Type: 0x81, Request: 6, Value: 0x2200, Length: 60 + 64},
			"greatest LUN":                 {Type: 0xa1, Request: 0xfe, Index: 1, Length: 1},
		} {
			if status, _, took := get(t, s, r); took != 0 || status != usb.StatusOK {
				t.Errorf("%s: status %d after %v", name, status, took)
			}
		}
		if status, _, took := get(t, s, descriptor(6, 0, 0, 10)); took != 0 || status != usb.StatusStall {
			t.Errorf("a qualifier that does not exist: status %d after %v", status, took)
		}
		if _, c := s.Stats(); c.Hits != c.Commands || c.Ahead == 0 || c.Discarded < 0 || c.Discarded >= c.Ahead {
			t.Errorf("%+v", c)
		}
	})
}

func TestStateIsAskedFromTheDevice(t *testing.T) {
	inScene(t, func(t *testing.T, _ *stagetest.Composite, s *enumeration.Stage) {
		time.Sleep(time.Second)
		for name, r := range map[string]usb.Setup{
			"GET_STATUS":        {Type: 0x80, Request: 0, Length: 2},
			"GET_CONFIGURATION": {Type: 0x80, Request: 8, Length: 1},
			"GET_REPORT":        {Type: 0xa1, Request: 1, Value: 0x0100, Length: 8},
			"a vendor request":  {Type: 0xc0, Request: 6, Value: 0x0100, Length: 18},
			"SET_CONFIGURATION": {Request: 9, Value: 1},
			"SET_INTERFACE":     {Type: 1, Request: 11, Index: 1},
			"an unknown string": descriptor(3, 7, 0x0409, 255),
		} {
			if _, _, took := get(t, s, r); took != rtt {
				t.Errorf("%s took %v", name, took)
			}
		}
	})
}

func TestChangedDeviceIsAskedAgain(t *testing.T) {
	for name, change := range map[string]usb.Setup{
		"port reset":            {Type: 0x23, Request: 3, Value: 4, Index: 1},
		"another configuration": {Request: 9, Value: 2},
		"no configuration":      {Request: 9},
		"SET_DESCRIPTOR":        {Request: 7, Value: 0x0301},
		"a vendor request":      {Type: 0x41, Request: 0xa0},
	} {
		inScene(t, func(t *testing.T, _ *stagetest.Composite, s *enumeration.Stage) {
			time.Sleep(time.Second)
			get(t, s, change)
			for _, r := range []usb.Setup{descriptor(3, 1, 0x0409, 255), descriptor(1, 0, 0, 18)} {
				if _, _, took := get(t, s, r); took != rtt {
					t.Errorf("%s: a descriptor took %v", name, took)
				}
			}
		})
	}
}

func TestDeviceWithOtherDescriptorsIsRejected(t *testing.T) {
	const product, numConfigurations = 10, 17
	for _, c := range []struct {
		at         int // the byte of the device descriptor that the device sends differently
		numConfigs byte
		want       []string
	}{
		{product, 1, []string{"it now answers with another device descriptor"}},
		{numConfigurations, 1, []string{"it now answers with another device descriptor"}},
		{numConfigurations, 8, nil}, // Linux shows no more than 8
	} {
		synctest.Test(t, func(t *testing.T) {
			dev := stagetest.NewComposite()
			dev.NumConfigurations = c.numConfigs
			dev.Lies = slices.Clone(dev.Info().Descriptors[:18])
			dev.Lies[c.at]++
			var details []string
			s := newStage(t, stagetest.NewPath(dev, stagetest.PathConfig{Delay: rtt / 2}), func(detail string) {
				details = append(details, detail)
			})
			defer s.Close()
			time.Sleep(time.Second)
			get(t, s, usb.Setup{Type: 0x23, Request: 3, Value: 4, Index: 1})
			get(t, s, descriptor(1, 0, 0, 18))
			if !slices.Equal(details, c.want) {
				t.Errorf("byte %d of a device with %d configurations: reported %q", c.at, c.numConfigs, details)
			}
		})
	}
}

// TestDeviceSeesTheRequestsOfLinux pins what reaches the device ahead.
func TestDeviceSeesTheRequestsOfLinux(t *testing.T) {
	inScene(t, func(t *testing.T, dev *stagetest.Composite, _ *enumeration.Stage) {
		time.Sleep(time.Second)
		allowed := map[usb.Setup]bool{
			descriptor(1, 0, 0, 18): true, descriptor(2, 0, 0, 41): true, descriptor(3, 0, 0, 255): true,
			descriptor(6, 0, 0, 10): true, descriptor(15, 0, 0, 5): true, descriptor(15, 0, 0, 12): true,
			{Type: 0x81, Request: 6, Value: 0x2200, Length: 60}: true,
			{Type: 0xa1, Request: 0xfe, Index: 1, Length: 1}:    true,
		}
		for _, language := range []uint16{0x0409, 0x0407} {
			for n := range uint8(5) {
				allowed[descriptor(3, n+1, language, 255)] = true
			}
		}
		list := dev.Requests()
		for _, r := range list {
			if !allowed[r] {
				t.Errorf("the device got %+v", r)
			}
			delete(allowed, r)
		}
		if len(allowed) > 0 {
			t.Errorf("the device did not get %v", allowed)
		}
	})
}

func TestCancelledAndClosedRequestsComplete(t *testing.T) {
	inScene(t, func(t *testing.T, _ *stagetest.Composite, s *enumeration.Stage) {
		var urbs []*usb.URB
		for range 3 { // all wait for the languages
			r := descriptor(3, 0, 0, 255)
			u := &usb.URB{Setup: r.Bytes(), Data: make([]byte, 255), Status: usb.StatusInProgress}
			usb.Start(s, u)
			urbs = append(urbs, u)
		}
		s.Cancel(urbs[0])
		if urbs[0].Status != usb.StatusReset || urbs[1].Status != usb.StatusInProgress {
			t.Errorf("status %d and %d after the cancellation of the first", urbs[0].Status, urbs[1].Status)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, u := range urbs[1:] {
			if u.Status == usb.StatusInProgress {
				t.Error("an URB did not complete")
			}
		}
	})
}
