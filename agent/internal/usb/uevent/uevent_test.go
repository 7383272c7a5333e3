package uevent

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEventFieldsAreParsed(t *testing.T) {
	for text, want := range map[string]Event{
		"add@/devices/pci0/usb1/1-2\x00ACTION=add\x00DEVPATH=/devices/pci0/usb1/1-2\x00" +
			"SUBSYSTEM=usb\x00DEVTYPE=usb_device\x00": {"add", "/devices/pci0/usb1/1-2", "usb", "usb_device"},
		"bind@/devices/x@y\x00SUBSYSTEM=scsi\x00SEQNUM=4": {"bind", "/devices/x@y", "scsi", ""},
		"libudev\x00SUBSYSTEM=usb\x00":                    {}, // sent by udev, not by the kernel
		"add@/devices/x":                                  {},
		"add@x\x00":                                       {},
		"":                                                {},
	} {
		got, ok := parse([]byte(text))
		if got != want || ok != (want != Event{}) {
			t.Errorf("%q: %+v, %t", text, got, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("add@/devices/pci0/usb1/1-2\x00ACTION=add\x00SUBSYSTEM=usb\x00DEVTYPE=usb_device\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, ok := parse(b); ok && !strings.HasPrefix(e.Path, "/") {
			t.Errorf("%+v", e)
		}
	})
}
