package usbip

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"unicode/utf16"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	wire "github.com/easyfind-usb/easyfind/proto/usbip"
)

// maxConfigurations bounds the configuration descriptors that are read from a
// device (kernel: USB_MAXCONFIG).
const maxConfigurations = 8

// ErrRefused is returned if a server refuses an import without a reason that
// package usb has a value for.
var ErrRefused = errors.New("the USB/IP server refuses the import")

// List returns the devices that the USB/IP server behind conn exports. It closes
// conn. When ctx ends, List fails.
func List(ctx context.Context, conn net.Conn) ([]usb.Info, error) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := conn.Write((&wire.ReqDevlist{}).AppendTo(nil)); err != nil {
		return nil, fmt.Errorf("USB/IP device list: %w", err)
	}
	reply, err := wire.ReadRepDevlist(conn)
	if err != nil {
		return nil, fmt.Errorf("USB/IP device list: %w", err)
	}
	var infos []usb.Info
	for _, d := range reply.Devices {
		infos = append(infos, infoOf(d))
	}
	return infos, nil
}

// Import imports a device from the USB/IP server behind conn and returns it
// opened, with its descriptors and strings in Info. The Close of the device closes
// conn; if Import fails, it closes conn itself. ctx bounds only the import. Errors
// wrap usb.ErrInUse, usb.ErrNotFound or ErrRefused if the server refuses.
func Import(ctx context.Context, conn net.Conn, busID string) (usb.Device, error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	d, err := importDevice(ctx, conn, busID)
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err != nil {
		stop()
		conn.Close()
		if d != nil {
			d.Close()
		}
		return nil, fmt.Errorf("USB/IP import of %s: %w", busID, err)
	}
	return d, nil
}

func importDevice(ctx context.Context, conn net.Conn, busID string) (*importedDevice, error) {
	if _, err := conn.Write((&wire.ReqImport{BusID: busID}).AppendTo(nil)); err != nil {
		return nil, err
	}
	reply, err := wire.ReadRepImport(conn)
	if err != nil {
		return nil, err
	}
	switch reply.Status {
	case wire.StatusOK:
	case wire.StatusBusy:
		return nil, usb.ErrInUse
	case wire.StatusNoDevice:
		return nil, usb.ErrNotFound
	default:
		return nil, fmt.Errorf("%w: status %d", ErrRefused, reply.Status)
	}
	info := infoOf(wire.ListedDevice{Device: reply.Device})
	info.ID = busID
	d := newImportedDevice(conn, reply.Device.DevID(), info)
	raw, err := d.readDescriptors(ctx)
	if err != nil {
		return d, err
	}
	unselected, err := d.describe(raw)
	if err != nil {
		return d, err
	}
	// The kernel's server exports a device without a configuration: that of the machine
	// ended when the driver usbip-host took the device.
	if unselected != 0 {
		if _, err := d.control(ctx, usb.Setup{Request: 9, Value: uint16(unselected)}); err != nil {
			return d, fmt.Errorf("configuration %d: %w", unselected, err)
		}
	}
	d.readStrings(ctx)
	return d, nil
}

// readDescriptors returns the descriptors, which USB/IP's description of a device
// lacks, in the form of [usb.Info.Descriptors].
func (d *importedDevice) readDescriptors(ctx context.Context) ([]byte, error) {
	const deviceDescriptor, configDescriptor = 1, 2
	raw, err := d.descriptor(ctx, usb.Setup{Value: deviceDescriptor << 8, Length: 18})
	if err != nil {
		return nil, fmt.Errorf("device descriptor: %w", err)
	}
	if len(raw) != 18 {
		return nil, errors.New("device descriptor: too short")
	}
	for n := range min(uint16(raw[17]), maxConfigurations) {
		get := usb.Setup{Value: configDescriptor<<8 | n, Length: 9}
		head, err := d.descriptor(ctx, get)
		if err == nil && len(head) < 9 {
			err = errors.New("too short")
		}
		if err != nil {
			return nil, fmt.Errorf("configuration descriptor %d: %w", n, err)
		}
		get.Length = binary.LittleEndian.Uint16(head[2:])
		all, err := d.descriptor(ctx, get)
		if err != nil {
			return nil, fmt.Errorf("configuration descriptor %d: %w", n, err)
		}
		raw = append(raw, all...)
	}
	return raw, nil
}

// readStrings sets the strings in d.info. A string that the device does not return
// stays empty.
func (d *importedDevice) readStrings(ctx context.Context) {
	const stringDescriptor, english = 3, 0x0409
	for n, text := range []*string{&d.info.Manufacturer, &d.info.ProductName, &d.info.Serial} {
		index := d.info.Descriptors[14+n]
		if index == 0 {
			continue
		}
		get := usb.Setup{Value: stringDescriptor<<8 | uint16(index), Index: english, Length: 255}
		if raw, err := d.descriptor(ctx, get); err == nil {
			*text = stringOf(raw)
		}
	}
}

// stringOf decodes a string descriptor (USB 2.0, 9.6.7).
func stringOf(raw []byte) string {
	if len(raw) < 2 {
		return ""
	}
	raw = raw[2:min(len(raw), max(int(raw[0]), 2))]
	units := make([]uint16, len(raw)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(raw[2*i:])
	}
	return string(utf16.Decode(units))
}

// descriptor runs GET_DESCRIPTOR (USB 2.0, 9.4.3). The caller sets Value, Index and
// Length.
func (d *importedDevice) descriptor(ctx context.Context, get usb.Setup) ([]byte, error) {
	get.Type, get.Request = 0x80, 6
	return d.control(ctx, get)
}

// control runs a control request and returns the data of an IN.
func (d *importedDevice) control(ctx context.Context, s usb.Setup) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	u := &usb.URB{Data: make([]byte, s.Length), Setup: s.Bytes()}
	done := usb.Start(d, u)
	select {
	case <-done:
	case <-ctx.Done():
		return nil, ctx.Err() // the caller closes the device, which completes the URB
	}
	if u.Status != usb.StatusOK {
		return nil, fmt.Errorf("status %d", u.Status)
	}
	return u.Data[:u.Actual], nil
}
