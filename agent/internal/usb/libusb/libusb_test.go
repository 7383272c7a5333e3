package libusb_test

import (
	"os"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/libusb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/usbtest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deviceVariable names the environment variable with the ID of a device that
// the tests may take.
const deviceVariable = "EASYFIND_TEST_USB_DEVICE"

func TestContract(t *testing.T) {
	bus, err := libusb.New(libusb.Config{})
	if err != nil {
		t.Skip(err)
	}
	id := os.Getenv(deviceVariable)
	if id == "" {
		t.Skip(deviceVariable + " names no USB device, such as 1-2, that this test may take from the machine")
	}
	usbtest.Run(t, func(*testing.T) usb.Bus { return bus }, id)
}

// TestListing needs no device: a machine without any has an empty list.
func TestListing(t *testing.T) {
	bus, err := libusb.New(libusb.Config{})
	if err != nil {
		t.Skip(err)
	}
	list, err := bus.Devices()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		if i.ID == "" || i.Backend != "libusb" || i.DeviceNumber == 0 {
			t.Errorf("Info lacks something: %+v", i)
		}
	}
}
