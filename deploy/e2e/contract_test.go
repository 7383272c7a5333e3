package e2e

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/e2e/guest"
)

// testDevice names the variable that gives a device to the backends' own tests.
const testDevice = "EASYFIND_TEST_USB_DEVICE"

// TestBackendsKeepTheContractInAGuest runs the backend tests that need real devices, in a
// guest that has some.
func TestBackendsKeepTheContractInAGuest(t *testing.T) {
	t.Parallel()
	needs(t, guest.Usable)
	image, err := buildImage()
	if err != nil {
		t.Fatal(err)
	}
	disk, _ := diskImage(t)
	machine := guest.Config{
		Name: "u", Image: image, Dir: t.TempDir(), Files: map[string]string{},
		USB: []guest.USB{guest.Disk("disk", disk), guest.Keyboard("keyboard"), guest.Tablet("tablet")},
	}
	ctx, cancel := context.WithTimeout(t.Context(), buildTimeout)
	defer cancel()
	backends := []struct{ name, tags, cgo string }{
		{"usbfs", "", "CGO_ENABLED=0"},
		{"libusb", "libusb", "CGO_ENABLED=1"},
		{"usbip", "", "CGO_ENABLED=0"},
	}
	for _, b := range backends {
		binary := filepath.Join(t.TempDir(), b.name)
		if err := guest.GoTestBinary(ctx, binary, module+"agent/internal/usb/"+b.name, b.tags, b.cgo); err != nil {
			t.Fatal(err)
		}
		machine.Files["/usr/bin/contract-"+b.name] = binary
		machine.Binaries = append(machine.Binaries, binary)
	}
	m := boot(t, machine)[0]
	m.must(t, commandTimeout, "modprobe usbip_host && usbipd -D")
	for _, b := range backends {
		for _, word := range []string{"HARDDRIVE", "Keyboard", "Tablet"} {
			t.Run(b.name+"/"+word, func(t *testing.T) { m.contract(t, b.name, word) })
		}
	}
}

// contract runs the tests of a backend on the device whose name contains word.
func (m *machine) contract(t *testing.T, backend, word string) {
	t.Helper()
	id := m.must(
		t,
		commandTimeout,
		`f=$(grep -l "`+word+`" /sys/bus/usb/devices/*/product) && basename "$(dirname "$f")"`,
	)
	if backend == "usbip" {
		m.must(t, commandTimeout, "usbip bind -b "+id)
		defer m.must(t, commandTimeout, "usbip unbind -b "+id)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var out bytes.Buffer
	code, err := m.Stream(ctx, nil, &out, &out,
		"env", testDevice+"="+id, "contract-"+backend, "-test.v", "-test.timeout=9m")
	if err != nil || code != 0 {
		t.Fatalf("on %s: exit %d, %v\n%s\nkernel: %s", id, code, err, &out, m.kernelLog(t))
	}
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, "--- ") {
			t.Log(strings.TrimRight(line, "\n"))
		}
	}
}
