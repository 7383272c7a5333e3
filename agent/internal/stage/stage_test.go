package stage_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/stage"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/guard"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
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

func TestKeyboardIsNoDisk(t *testing.T) {
	bus, err := virtual.New(virtual.Config{Gadgets: []virtual.Gadget{virtual.NewKeyboard(virtual.KeyboardConfig{})}})
	if err != nil {
		t.Fatal(err)
	}
	dev, err := bus.Open("v-keyboard", usb.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d := stage.Wrap(dev, stage.Config{})
	for _, s := range d.Stats() {
		if s.Name == "storage" {
			t.Errorf("%+v", s)
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
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
