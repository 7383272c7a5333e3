package usb_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// camera holds the descriptors of a device with two configurations, an
// interface with two alternate settings and class descriptors between them, one
// of an unknown type.
const camera = "12010002ef020140341278560201010203 02" +
	"0902 2e00 0201 0080 32" + "0904 0000 01 0e0100 00" + "0524 0001 00" + "0705 8103 4000 08" +
	"0904 0100 00 0e0200 00" + "0904 0101 01 0e0200 00" +
	"0902 1900 0102 0080 32" + "0904 0000 01 ff0000 00" + "0705 0202 0002 00"

func raw(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(string(bytes.ReplaceAll([]byte(s), []byte(" "), nil)))
	if err != nil {
		t.Fatal(err)
	}
	b[20] = byte(len(b) - 18 - 25) // wTotalLength of the first configuration
	return b
}

func TestParseDescriptors(t *testing.T) {
	d, err := usb.ParseDescriptors(raw(t, camera))
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Configurations) != 2 {
		t.Fatalf("%d configurations", len(d.Configurations))
	}
	var info usb.Info
	d.Describe(&info, 1)
	want := []usb.Interface{{Number: 0, Class: 0x0e, SubClass: 1}, {Number: 1, Class: 0x0e, SubClass: 2}}
	if info.Vendor != 0x1234 || info.Product != 0x5678 || info.Release != 0x0102 || info.Class != 0xef ||
		info.NumConfigurations != 2 || !slices.Equal(info.Interfaces, want) {
		t.Errorf("described as %+v", info)
	}
	first, _ := d.Configuration(1)
	status := usb.EndpointDescriptor{Address: 0x81, Type: usb.Interrupt, MaxPacket: 64, Interval: 8}
	if e := first.Endpoints(nil); len(e) != 1 || e[0x81] != status {
		t.Errorf("endpoints of configuration 1: %+v", e)
	}
	if _, ok := first.Setting(1, 1); !ok {
		t.Error("alternate setting 1 of interface 1 is missing")
	}
	second, _ := d.Configuration(2)
	if e := second.Endpoints(nil); len(e) != 1 || e[0x02].Type != usb.Bulk || e[0x02].MaxPacket != 512 {
		t.Errorf("endpoints of configuration 2: %+v", e)
	}
	if e := second.Endpoints(map[uint8]uint8{0: 1}); len(e) != 0 {
		t.Errorf("endpoints of a setting that does not exist: %+v", e)
	}
}

func TestMalformedDescriptors(t *testing.T) {
	whole := raw(t, camera)
	broken := func(at int, b byte) []byte {
		c := bytes.Clone(whole)
		c[at] = b
		return c
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "half a device descriptor": whole[:17], "no device descriptor": whole[18:],
		"a length of 0": broken(27, 0), "a length of 1": broken(27, 1), "over the end": broken(27, 0xff),
		"too long":               make([]byte, usb.MaxDescriptors+1),
		"an empty configuration": append(bytes.Clone(whole[:18]), 9, 2, 0, 0, 0, 0, 0, 0, 0),
	} {
		if _, err := usb.ParseDescriptors(b); !errors.Is(err, usb.ErrDescriptors) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestInvalidURBsAreRejected(t *testing.T) {
	packets := func(p ...usb.IsoPacket) *usb.URB {
		return &usb.URB{Endpoint: 0x81, Data: make([]byte, 64), Packets: p}
	}
	for name, c := range map[string]struct {
		u    *usb.URB
		want usb.Status
	}{
		"empty":           {&usb.URB{Endpoint: 0x81}, usb.StatusOK},
		"longest":         {&usb.URB{Endpoint: 0x81, Data: make([]byte, usb.MaxTransfer)}, usb.StatusOK},
		"longer":          {&usb.URB{Endpoint: 0x81, Data: make([]byte, usb.MaxTransfer+1)}, usb.StatusInvalid},
		"reserved bits":   {&usb.URB{Endpoint: 0x91}, usb.StatusInvalid},
		"packets":         {packets(usb.IsoPacket{Length: 32}, usb.IsoPacket{Offset: 32, Length: 32}), usb.StatusOK},
		"packet over end": {packets(usb.IsoPacket{Offset: 33, Length: 32}), usb.StatusInvalid},
		"packet overflow": {packets(usb.IsoPacket{Offset: 1, Length: 0xffffffff}), usb.StatusInvalid},
		"packets overlap": {
			packets(usb.IsoPacket{Length: 32}, usb.IsoPacket{Offset: 31, Length: 1}), usb.StatusInvalid,
		},
		"too many packets": {packets(make([]usb.IsoPacket, usb.MaxPackets+1)...), usb.StatusInvalid},
		"control, packets": {&usb.URB{Packets: make([]usb.IsoPacket, 1)}, usb.StatusInvalid},
		"control, no data": {&usb.URB{Setup: [8]byte{0x21, 9, 0, 0, 0, 0, 1}}, usb.StatusInvalid},
		"control, small buffer": {
			&usb.URB{Setup: usb.Setup{Type: 0x80, Request: 6, Length: 18}.Bytes(), Data: make([]byte, 8)}, usb.StatusOK,
		},
	} {
		if got := c.u.Check(); got != c.want {
			t.Errorf("%s: status %d, want %d", name, got, c.want)
		}
	}
}

func TestSetupPacketEffects(t *testing.T) {
	for name, c := range map[string]struct {
		s       usb.Setup
		change  usb.Change
		harmful bool
	}{
		"GET_DESCRIPTOR":         {usb.Setup{Type: 0x80, Request: 6, Value: 0x100, Length: 18}, usb.NoChange, false},
		"SET_CONFIGURATION":      {usb.Setup{Type: 0x00, Request: 9, Value: 1}, usb.SetConfiguration, false},
		"SET_INTERFACE":          {usb.Setup{Type: 0x01, Request: 11, Value: 1, Index: 2}, usb.SetInterface, false},
		"CLEAR_FEATURE halt":     {usb.Setup{Type: 0x02, Request: 1, Index: 0x81}, usb.ClearHalt, false},
		"CLEAR_FEATURE wake-up":  {usb.Setup{Type: 0x00, Request: 1, Value: 1}, usb.NoChange, false},
		"SET_FEATURE port reset": {usb.Setup{Type: 0x23, Request: 3, Value: 4, Index: 1}, usb.PortReset, false},
		"SET_ADDRESS":            {usb.Setup{Type: 0x00, Request: 5, Value: 9}, usb.NoChange, true},
		"SET_FEATURE test mode":  {usb.Setup{Type: 0x00, Request: 3, Value: 2, Index: 0x100}, usb.NoChange, true},
		"class request 9":        {usb.Setup{Type: 0x21, Request: 9, Value: 0x200, Length: 1}, usb.NoChange, false},
	} {
		u := usb.URB{Setup: c.s.Bytes()}
		if got := u.SetupPacket(); got != c.s {
			t.Errorf("%s: decoded as %+v", name, got)
		}
		if c.s.Change() != c.change || c.s.Harmful() != c.harmful {
			t.Errorf("%s: change %d, harmful %t", name, c.s.Change(), c.s.Harmful())
		}
	}
}

func FuzzParseDescriptors(f *testing.F) {
	f.Add(raw(f, camera))
	f.Add(raw(f, camera)[:40])
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := usb.ParseDescriptors(b)
		if err != nil {
			if !errors.Is(err, usb.ErrDescriptors) {
				t.Errorf("error %v", err)
			}
			return
		}
		var info usb.Info
		for _, c := range d.Configurations {
			d.Describe(&info, c.Value)
			for address, e := range c.Endpoints(nil) {
				if address != e.Address || address.Number() == 0 || address&0x70 != 0 || e.MaxPacket > 2047 {
					t.Errorf("endpoint %#x: %+v", address, e)
				}
			}
		}
	})
}
