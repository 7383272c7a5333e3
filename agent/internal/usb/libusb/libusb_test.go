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

// deviceVariable is the name of the environment variable with the ID of a device
// that the tests may open.
const deviceVariable = "EASYFIND_TEST_USB_DEVICE"

func TestContract(t *testing.T) {
	bus, err := libusb.New(libusb.Config{})
	if err != nil {
		t.Skip(err)
	}
	id := os.Getenv(deviceVariable)
	if id == "" {
		t.Skip("set " + deviceVariable + " to the ID of a USB device, such as 1-2, that this test may open")
	}
	usbtest.Run(t, func(*testing.T) usb.Bus { return bus }, id)
}

// TestListedDevicesHaveIDs also passes on a machine without devices, where the
// list is empty.
func TestListedDevicesHaveIDs(t *testing.T) {
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
			t.Errorf("Info has empty fields: %+v", i)
		}
	}
}
