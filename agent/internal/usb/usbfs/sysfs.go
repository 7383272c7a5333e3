//go:build linux

package usbfs

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// maxAttribute is the greatest length of a text attribute in sysfs: one page of
// 4096 bytes.
const maxAttribute = 4096

// busID matches the kernel's name of a device that is not a root hub: the
// number of the bus and the port number at each hub (drivers/usb/core/usb.c).
var busID = regexp.MustCompile(`^[0-9]{1,5}-[0-9]{1,3}(\.[0-9]{1,3}){0,6}$`)

func isBusID(s string) bool { return busID.MatchString(s) }

// speeds maps the values of the attribute "speed", in Mbit/s
// (drivers/usb/core/sysfs.c, speed_show).
var speeds = map[string]usb.Speed{
	"1.5": usb.SpeedLow, "12": usb.SpeedFull, "480": usb.SpeedHigh,
	"5000": usb.SpeedSuper, "10000": usb.SpeedSuperPlus, "20000": usb.SpeedSuperPlus,
}

// readDevice reads the description of a device from its directory in sysfs. It
// leaves InUse empty.
func readDevice(dir string) (usb.Info, error) {
	i := usb.Info{
		ID: filepath.Base(dir), Backend: "usbfs", Speed: speeds[attribute(dir, "speed")],
		Manufacturer: attribute(dir, "manufacturer"),
		ProductName:  attribute(dir, "product"), Serial: attribute(dir, "serial"),
	}
	bus, err := number(dir, "busnum", 10, 32)
	if err != nil {
		return usb.Info{}, err
	}
	dev, err := number(dir, "devnum", 10, 32)
	if err != nil {
		return usb.Info{}, err
	}
	i.BusNumber, i.DeviceNumber = uint32(bus), uint32(dev)
	if i.Descriptors, err = readBounded(filepath.Join(dir, "descriptors"), usb.MaxDescriptors); err != nil {
		return usb.Info{}, err
	}
	d, err := usb.ParseDescriptors(i.Descriptors)
	if err != nil {
		return usb.Info{}, fmt.Errorf("%s: %w", dir, err)
	}
	d.Describe(&i, activeConfiguration(dir))
	return i, nil
}

// activeConfiguration returns the bConfigurationValue of the active
// configuration. It returns 0 if the device is not configured: the attribute is
// empty then.
func activeConfiguration(dir string) uint8 {
	n, err := number(dir, "bConfigurationValue", 10, 8)
	if err != nil {
		return 0
	}
	return uint8(n)
}

// setting is the current state of an interface in sysfs.
type setting struct {
	number, alternate uint8
	driver            string // name of the bound kernel driver, or empty
}

// readSettings reads the interfaces of the active configuration.
func readSettings(dir string) ([]setting, error) {
	dirs, err := filepath.Glob(filepath.Join(dir, "*:*"))
	if err != nil {
		return nil, err
	}
	var list []setting
	for _, d := range dirs {
		n, err := number(d, "bInterfaceNumber", 16, 8)
		if err != nil {
			return nil, err
		}
		alt, err := number(d, "bAlternateSetting", 10, 8)
		if err != nil {
			return nil, err
		}
		s := setting{number: uint8(n), alternate: uint8(alt)}
		if link, err := os.Readlink(filepath.Join(d, "driver")); err == nil {
			s.driver = filepath.Base(link)
		}
		list = append(list, s)
	}
	return list, nil
}

// attribute returns a text attribute without surrounding white space, or "" if
// it does not exist.
func attribute(dir, name string) string {
	b, err := readBounded(filepath.Join(dir, name), maxAttribute)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(b), "?"))
}

// number parses an attribute that holds a number.
func number(dir, name string, base, bits int) (uint64, error) {
	b, err := readBounded(filepath.Join(dir, name), maxAttribute)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), base, bits)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", filepath.Join(dir, name), err)
	}
	return n, nil
}

// readBounded reads a file and fails if it is longer than limit bytes.
func readBounded(name string, limit int) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading: closing loses no data
	b, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(b) > limit {
		return nil, fmt.Errorf("%s is longer than %d bytes", name, limit)
	}
	return b, nil
}
