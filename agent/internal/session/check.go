package session

import (
	"fmt"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tunnel.ErrMalformed, fmt.Sprintf(format, args...))
}

// lowestStatus is the lowest error number of Linux, negated (include/linux/err.h, MAX_ERRNO).
const lowestStatus = -4095

// checkComplete checks a completion against its URB. A kernel that trusts a completion that does not fit writes past
// the buffer of the URB (CVE-2026-31607).
func checkComplete(m *tunnel.Complete, u *usb.URB) error {
	switch {
	case m.Status > 0 || m.Status < lowestStatus:
		return malformed("a completion with status %d", m.Status)
	case int(m.Actual) > len(u.Data):
		return malformed("a completion of %d bytes where %d were asked for", m.Actual, len(u.Data))
	case len(m.Packets) != len(u.Packets):
		return malformed("a completion with %d packets where %d were asked for", len(m.Packets), len(u.Packets))
	case m.Errors < 0 || int(m.Errors) > len(u.Packets):
		return malformed("a completion with errors in %d of %d packets", m.Errors, len(u.Packets))
	case u.In() && len(m.Data) != int(m.Actual), !u.In() && len(m.Data) != 0:
		return malformed("a completion of %d bytes with %d bytes of data", m.Actual, len(m.Data))
	}
	sum := 0
	for i, p := range m.Packets {
		if p.Actual > u.Packets[i].Length || p.Status > 0 || p.Status < lowestStatus {
			return malformed("a packet of %d bytes with status %d where %d bytes were asked for",
				p.Actual, p.Status, u.Packets[i].Length)
		}
		sum += int(p.Actual)
	}
	if len(m.Packets) > 0 && u.In() && sum != int(m.Actual) {
		return malformed("a completion of %d bytes with %d in its packets", m.Actual, sum)
	}
	return nil
}

// finish completes u with m, which checkComplete has checked.
func finish(u *usb.URB, m *tunnel.Complete) {
	u.Actual, u.ErrorCount, u.StartFrame = int(m.Actual), m.Errors, m.StartFrame
	data := m.Data
	for i, r := range m.Packets {
		p := &u.Packets[i]
		p.Actual, p.Status = r.Actual, usb.Status(r.Status)
		if u.In() {
			copy(u.Data[p.Offset:], data[:r.Actual])
			data = data[r.Actual:]
		}
	}
	if len(m.Packets) == 0 {
		copy(u.Data, data)
	}
	u.Finish(usb.Status(m.Status))
}

// transferTypes is a set of usb.TransferType, one bit for each.
type transferTypes uint8

func (t transferTypes) has(x usb.TransferType) bool { return t>>x&1 != 0 }

// endpointTypes returns the endpoints of all configurations and alternate settings of a device.
func endpointTypes(descriptors []byte) map[usb.Endpoint]transferTypes {
	types := map[usb.Endpoint]transferTypes{0: 1 << usb.Control}
	parsed, err := usb.ParseDescriptors(descriptors)
	if err != nil {
		return types
	}
	for _, c := range parsed.Configurations {
		for _, setting := range c.Settings {
			for _, e := range setting.Endpoints {
				types[e.Address] |= 1 << e.Type
			}
		}
	}
	return types
}

// checkSubmit checks a Submit against its endpoint.
func checkSubmit(m *tunnel.Submit, u *usb.URB, t transferTypes) error {
	iso := len(m.Packets) > 0
	switch {
	case iso && !t.has(usb.Isochronous), !iso && t == 1<<usb.Isochronous:
		return malformed("an URB with %d packets for endpoint %#x", len(m.Packets), uint8(u.Endpoint))
	case u.In() && len(m.Data) != 0, !u.In() && len(m.Data) != int(m.Length):
		return malformed("an URB of %d bytes with %d bytes of data for endpoint %#x",
			m.Length, len(m.Data), uint8(u.Endpoint))
	}
	return nil
}
