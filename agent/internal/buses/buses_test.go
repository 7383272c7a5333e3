package buses_test

import (
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/buses"
)

func TestBackendSettingIsChecked(t *testing.T) {
	for backend, want := range map[string]bool{
		"usbfs": true, "libusb": true, "none": true, "usbip://192.0.2.1:3240": true, "usbip://desktop": true,
		"usbip://[2001:db8::1]:3240": true, "usbip://": false, "usbip://:3240": false, "usbip://host/path": false,
		"usbip://me@host": false, "usbip:host": false, "http://host": false, "kernel": false,
	} {
		if err := buses.CheckBackend(backend); (err == nil) != want {
			t.Errorf("%s: %v", backend, err)
		}
	}
}
