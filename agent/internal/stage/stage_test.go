package stage_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/guard"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/usbtest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
)

func newDisk() *stagetest.Disk {
	return stagetest.NewDisk(stagetest.DiskConfig{Units: 1, BlockSize: 512, Blocks: 4096, MaxPacket: 512})
}

func TestReasonWithoutStage(t *testing.T) {
	for name, c := range map[string]struct {
		dev  usb.Device
		cfg  stage.Config
		want string
	}{
		"accelerated":      {guard.New(newDisk()), stage.Config{Without: []string{"0000:0000"}}, ""},
		"off for the use":  {guard.New(newDisk()), stage.Config{Off: true}, "turned off for this use"},
		"off for the kind": {guard.New(newDisk()), stage.Config{Without: []string{"1209:0009"}}, "in the settings"},
		"an old host":      {newDisk(), stage.Config{}, "upgrade it"},
	} {
		d := stage.Wrap(c.dev, c.cfg)
		st := d.Stats()
		i := slices.IndexFunc(st, func(s stage.Stats) bool { return s.Name == "storage" })
		if i < 0 || !strings.Contains(st[i].Off, c.want) || (st[i].Off == "") != (c.want == "") {
			t.Errorf("%s: %+v", name, st)
		}
		driver := stagetest.Driver{Device: d, Timeout: 1 << 40}
		if r := driver.Do(0, stagetest.Read(1, 1), 512, nil); r.Err != "" || r.Failed || len(r.Data) != 512 {
			t.Errorf("%s: %v", name, r)
		}
		_ = d.Close()
	}
}

// TestStagesOfDevices lists the stages that devices get, as the status shows them.
func TestStagesOfDevices(t *testing.T) {
	in := usb.EndpointDescriptor{Address: 0x81, Type: usb.Interrupt, MaxPacket: 64, Interval: 4}
	bulk := []usb.EndpointDescriptor{
		{Address: 0x82, Type: usb.Bulk, MaxPacket: 64}, {Address: 0x02, Type: usb.Bulk, MaxPacket: 64},
	}
	one := func(class, subclass, protocol uint8, endpoints ...usb.EndpointDescriptor) stagetest.PeripheralConfig {
		i := usb.Interface{Class: class, SubClass: subclass, Protocol: protocol}
		return interfaces(stagetest.Interface(i, endpoints...))
	}
	modem := interfaces(
		stagetest.Interface(usb.Interface{Class: 2, SubClass: 2, Protocol: 1}, in),
		stagetest.Interface(usb.Interface{Number: 1, Class: 0x0a}, bulk...))
	for name, c := range map[string]struct {
		cfg  stagetest.PeripheralConfig
		want []string
	}{
		"mouse":             {one(3, 1, 2, in), []string{"interrupt"}},
		"modem":             {modem, []string{"interrupt", "serial"}},
		"smart card reader": {one(0x0b, 0, 0, append(bulk, in)...), []string{"interrupt", "exchange"}},
		"printer":           {one(7, 1, 2, bulk...), nil},
		"camera":            {one(6, 1, 1, bulk...), nil},
		"vendor-specific":   {one(0xff, 0, 0, append(bulk, in)...), nil},
	} {
		dev := stage.Wrap(stagetest.NewPeripheral(c.cfg), stage.Config{})
		var names []string
		for _, st := range dev.Stats() {
			if st.Name != "enumeration" { // which every device has
				names = append(names, st.Name)
			}
			if st.Off != "" || st.Unit == "" {
				t.Errorf("%s: %+v", name, st)
			}
		}
		if !slices.Equal(names, c.want) {
			t.Errorf("%s has the stages %v, want %v", name, names, c.want)
		}
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	}
}

func interfaces(list ...[]byte) stagetest.PeripheralConfig {
	return stagetest.PeripheralConfig{
		Vendor: 0x1209, Product: 0x000c, Speed: usb.SpeedHigh, Configuration: stagetest.Configuration(list...),
	}
}

// TestMarksOfADriverAreRemoved submits an URB with the flags of a mark, which a USB/IP
// client could send.
func TestMarksOfADriverAreRemoved(t *testing.T) {
	d := stage.Wrap(guard.New(newDisk()), stage.Config{Off: true})
	defer d.Close()
	u := &usb.URB{Endpoint: stagetest.DiskIn, Data: make([]byte, 13)}
	guard.Mark{Role: guard.Status, Epoch: 1, Number: 1}.Set(u)
	done := usb.Start(d, u)
	d.Cancel(u)
	<-done
	if _, marked := guard.MarkOf(u); marked || u.Status != usb.StatusReset {
		t.Errorf("status %d, marked %t", u.Status, marked)
	}
}

// TestRequestsPassWhatIsPostedAhead posts transfers on every endpoint of a device with as
// many as a device can have. A session has 512 URBs in flight.
func TestRequestsPassWhatIsPostedAhead(t *testing.T) {
	var list [][]byte
	for n := range uint8(7) {
		e := usb.EndpointDescriptor{Address: usb.Endpoint(0x81 + n), Type: usb.Interrupt, MaxPacket: 8, Interval: 1}
		list = append(list, stagetest.Interface(usb.Interface{Number: n, Class: 3}, e))
	}
	list = append(list, stagetest.Interface(usb.Interface{Number: 7, Class: 2, SubClass: 2}))
	for n := uint8(8); n < 15; n++ {
		e := usb.EndpointDescriptor{Address: usb.Endpoint(0x80 + n), Type: usb.Bulk, MaxPacket: 64}
		list = append(list, stagetest.Interface(usb.Interface{Number: n, Class: 0x0a}, e))
	}
	device := stagetest.NewPeripheral(interfaces(list...))
	dev := stage.Wrap(device, stage.Config{})
	defer dev.Close()
	for n := range uint8(14) {
		usb.Start(dev, &usb.URB{Endpoint: usb.Endpoint(0x81 + n), Data: make([]byte, 64)})
	}
	posted := 0
	for n := range uint8(14) {
		posted += device.Posted(usb.Endpoint(0x81 + n))
	}
	if posted < 100 || posted > 400 {
		t.Errorf("%d transfers are posted", posted)
	}
}

// stagedBus is a bus whose devices have stages.
type stagedBus struct{ usb.Bus }

func (b stagedBus) Open(id string, o usb.OpenOptions) (usb.Device, error) {
	dev, err := b.Bus.Open(id, o)
	if err != nil {
		return nil, err
	}
	return stage.Wrap(guard.New(dev), stage.Config{}), nil
}

// TestStagesKeepTheContractOfDevices runs the tests of all backends above stages.
func TestStagesKeepTheContractOfDevices(t *testing.T) {
	usbtest.Run(t, func(t *testing.T) usb.Bus {
		keyboard := virtual.NewKeyboard(virtual.KeyboardConfig{})
		bus, err := virtual.New(virtual.Config{Gadgets: []virtual.Gadget{keyboard}})
		if err != nil {
			t.Fatal(err)
		}
		return stagedBus{bus}
	}, "v-keyboard")
}

// TestUnpluggedDeviceEndsEverything unplugs a device while it has transfers of its driver
// and others.
func TestUnpluggedDeviceEndsEverything(t *testing.T) {
	in := usb.EndpointDescriptor{Address: 0x81, Type: usb.Interrupt, MaxPacket: 8, Interval: 1}
	device := stagetest.NewPeripheral(interfaces(stagetest.Interface(usb.Interface{Class: 3}, in)))
	dev := stage.Wrap(device, stage.Config{})
	defer dev.Close()
	var urbs []*usb.URB
	var done []<-chan struct{}
	for range 3 {
		u := &usb.URB{Endpoint: 0x81, Data: make([]byte, 8)}
		urbs, done = append(urbs, u), append(done, usb.Start(dev, u))
	}
	device.Unplug()
	for i, u := range urbs {
		<-done[i]
		if u.Status != usb.StatusNoDevice {
			t.Errorf("URB %d ends with %d", i, u.Status)
		}
	}
	if s := usb.Do(t.Context(), dev, &usb.URB{Endpoint: 0x81, Data: make([]byte, 8)}); s != usb.StatusNoDevice {
		t.Errorf("a later URB ends with %d", s)
	}
}

// TestPipelinesOfPrintersAndCamerasStayFull writes to a printer and to a camera with several
// transfers in flight. It takes as long as without stages.
func TestPipelinesOfPrintersAndCamerasStayFull(t *testing.T) {
	out := usb.EndpointDescriptor{Address: 0x02, Type: usb.Bulk, MaxPacket: 512}
	for _, class := range []uint8{7, 6} {
		var took [2]time.Duration
		for i, off := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				device := stagetest.NewPeripheral(interfaces(stagetest.Interface(usb.Interface{Class: class}, out)))
				path := stagetest.NewPath(device, stagetest.PathConfig{Delay: 50 * time.Millisecond})
				dev := stage.Wrap(path, stage.Config{Off: off})
				defer dev.Close()
				began := time.Now()
				var inFlight []<-chan struct{}
				for range 200 {
					if len(inFlight) == 16 {
						<-inFlight[0]
						inFlight = inFlight[1:]
					}
					inFlight = append(inFlight, usb.Start(dev, &usb.URB{Endpoint: 0x02, Data: make([]byte, 16<<10)}))
				}
				for _, done := range inFlight {
					<-done
				}
				took[i] = time.Since(began)
			})
		}
		if took[1] > took[0] {
			t.Errorf("class %d: %v, without stages %v", class, took[1], took[0])
		}
	}
}

// TestSecurityKeyNeedsOneRoundTrip attaches a security key as a kernel does, and then sends
// it requests.
func TestSecurityKeyNeedsOneRoundTrip(t *testing.T) {
	const rtt = 100 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		cfg := interfaces(stagetest.Interface(usb.Interface{Class: 3},
			usb.EndpointDescriptor{Address: 0x81, Type: usb.Interrupt, MaxPacket: 64, Interval: 4},
			usb.EndpointDescriptor{Address: 0x02, Type: usb.Interrupt, MaxPacket: 64, Interval: 4}))
		cfg.Receive = func(d *stagetest.Peripheral, _ usb.Endpoint, data []byte) { d.Report(0x81, data) }
		cfg.Answer = func(s usb.Setup) ([]byte, bool) {
			return []byte{0x06, 0xd0, 0xf1, 0x09, 0x01, 0xa1, 0x01, 0xc0}, s.Request == 6 && s.Value == 0x2200
		}
		path := stagetest.NewPath(stagetest.NewPeripheral(cfg), stagetest.PathConfig{Delay: rtt / 2})
		dev := stage.Wrap(path, stage.Config{})
		defer dev.Close()
		for _, s := range []usb.Setup{{Request: 9, Value: 1}, {Type: 0x81, Request: 6, Value: 0x2200, Length: 8}} {
			usb.Do(t.Context(), dev, &usb.URB{Setup: s.Bytes(), Data: make([]byte, s.Length)})
		}
		time.Sleep(time.Second)
		for n := range 5 {
			began := time.Now()
			usb.Do(t.Context(), dev, &usb.URB{Endpoint: 0x02, Data: make([]byte, 64)})
			response := &usb.URB{Endpoint: 0x81, Data: make([]byte, 64)}
			s := usb.Do(t.Context(), dev, response)
			if took := time.Since(began); s != usb.StatusOK || response.Actual != 64 || took > rtt {
				t.Errorf("exchange %d: status %d, %d bytes after %v", n, s, response.Actual, took)
			}
		}
	})
}
