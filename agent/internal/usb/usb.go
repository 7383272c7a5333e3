// Package usb is what the agent knows of USB: a [Bus] lists devices and opens
// them, an opened [Device] runs [URB]s with the fidelity of the kernel's own.
//
// Everything that carries a device implements Device: the backends below this
// package (usbfs, libusb, virtual), the far device of a session, an import
// from a USB/IP server. Everything that uses one takes it: the exporting side
// of a session, the USB/IP server. A stage between the two is a Device that
// holds a Device.
package usb

import (
	"context"
	"errors"
	"fmt"
)

// Speed is the kernel's enum usb_device_speed (include/uapi/linux/usb/ch9.h),
// which USB/IP puts on the wire.
type Speed uint8

// The speeds.
const (
	SpeedUnknown   Speed = 0
	SpeedLow       Speed = 1 // 1.5 Mbit/s
	SpeedFull      Speed = 2 // 12 Mbit/s
	SpeedHigh      Speed = 3 // 480 Mbit/s
	SpeedWireless  Speed = 4
	SpeedSuper     Speed = 5 // 5 Gbit/s
	SpeedSuperPlus Speed = 6 // 10 Gbit/s and more
)

// Endpoint is a bEndpointAddress: bit 7 set for IN, bits 0 to 3 the number.
// Control transfers use endpoint 0 whatever their direction, which is in the
// setup packet.
type Endpoint uint8

// In reports whether data flows to the computer. It says nothing of endpoint 0.
func (e Endpoint) In() bool { return e&0x80 != 0 }

// Number returns 0 to 15.
func (e Endpoint) Number() uint8 { return uint8(e) & 0x0f }

// Bounds of one URB, whoever asks for it.
const (
	MaxTransfer = 4 << 20 // bytes of URB.Data
	MaxPackets  = 1024    // isochronous packets (kernel: USBIP_MAX_ISO_PACKETS)
	MaxPending  = 512     // URBs of one device that may be in flight
)

// Flags are the URB flags that a USB/IP importer sends
// (include/linux/usb.h, URB_*); other bits are ignored.
type Flags uint32

// The flags that a backend obeys.
const (
	ShortNotOK Flags = 0x0001 // a short IN transfer is -EREMOTEIO
	IsoASAP    Flags = 0x0002
	ZeroPacket Flags = 0x0040 // end a bulk OUT of whole packets with an empty one
)

// Status is an URB's result as Linux has it: 0 or a negated errno.
type Status int32

// The statuses that USB gives a meaning (Documentation/driver-api/usb/error-codes.rst).
const (
	StatusOK         Status = 0
	StatusNoEntry    Status = -2   // ENOENT: cancelled, synchronously
	StatusIO         Status = -5   // EIO
	StatusNoMemory   Status = -12  // ENOMEM
	StatusNoDevice   Status = -19  // ENODEV: unplugged
	StatusCrossLink  Status = -18  // EXDEV: isochronous, partly done
	StatusInvalid    Status = -22  // EINVAL
	StatusStall      Status = -32  // EPIPE: endpoint halted
	StatusProtocol   Status = -71  // EPROTO: no answer, bit stuffing
	StatusOverflow   Status = -75  // EOVERFLOW: babble
	StatusBadCRC     Status = -84  // EILSEQ
	StatusReset      Status = -104 // ECONNRESET: cancelled
	StatusShutdown   Status = -108 // ESHUTDOWN: device or controller disabled
	StatusTimeout    Status = -110 // ETIMEDOUT
	StatusShortRead  Status = -121 // EREMOTEIO: short with ShortNotOK
	StatusInProgress Status = -115 // EINPROGRESS: never reported
)

// Cancelled reports whether the URB ended because somebody cancelled it.
func (s Status) Cancelled() bool { return s == StatusReset || s == StatusNoEntry }

// IsoPacket is one packet of an isochronous URB. Offset and Length are within
// URB.Data; Actual and Status are the result.
type IsoPacket struct {
	Offset, Length, Actual uint32
	Status                 Status
}

// URB is one USB request. The submitter fills the first part and owns the URB
// again when Done has been called; in between it belongs to the Device.
type URB struct {
	Endpoint Endpoint
	Setup    [8]byte // control only: bmRequestType, bRequest, wValue, wIndex, wLength
	Flags    Flags
	// Data is the payload (OUT) or the room for it (IN, whose length is the
	// requested length). At most MaxTransfer.
	Data       []byte
	Packets    []IsoPacket // isochronous only, not empty then; at most MaxPackets
	Interval   int32       // as submitted, in frames or microframes
	StartFrame int32
	// Done is called exactly once, on any goroutine, possibly before Submit
	// returns. It must not block.
	Done func(*URB)

	// The result. For IN, Data[:Actual] was received; an isochronous URB has
	// its data at the packets' offsets. For OUT, Actual bytes were sent.
	Status     Status
	Actual     int
	ErrorCount int32 // isochronous: packets with an error
}

// In reports whether the URB's data flows to the computer.
func (u *URB) In() bool {
	if u.Endpoint.Number() == 0 {
		return u.Setup[0]&0x80 != 0
	}
	return u.Endpoint.In()
}

// Finish completes the URB without data and calls Done.
func (u *URB) Finish(s Status) {
	u.Status = s
	u.Done(u)
}

// Begin is how a Device starts an URB that it was given: what breaks a bound (see
// Check), or enqueue refuses with another status than StatusOK, is finished at
// once. It reports whether the URB was taken.
func (u *URB) Begin(enqueue func(*URB) Status) bool {
	u.Actual, u.ErrorCount = 0, 0
	status := u.Check()
	if status == StatusOK {
		status = enqueue(u)
	}
	if status != StatusOK {
		u.Finish(status)
	}
	return status == StatusOK
}

// Device is an opened device: its interfaces are claimed and no kernel driver
// has them.
type Device interface {
	// Info returns the description at the time of opening.
	Info() Info
	// Submit starts u and does not block. URBs of one endpoint run in the order
	// of their submission. Every submitted URB is completed, in the end with
	// StatusNoDevice or StatusShutdown.
	//
	// Standard requests that change the device's state (SET_CONFIGURATION,
	// SET_INTERFACE, CLEAR_FEATURE(ENDPOINT_HALT), port reset as
	// SET_FEATURE(PORT_RESET) to a hub's port, which USB/IP uses for "reset")
	// arrive as plain control URBs; the Device does what they need.
	Submit(u *URB)
	// Cancel asks for the early end of a submitted URB, which completes with
	// StatusReset, or as it did if it was too late. It does not block.
	Cancel(u *URB)
	// Gone is closed when the device is unplugged or its session is over.
	Gone() <-chan struct{}
	// Close cancels and completes what is pending, waits for it, resets the
	// device and gives it back to the kernel's drivers. Closing twice is fine.
	Close() error
}

// Bus is a place where devices are found. Methods may be called concurrently.
type Bus interface {
	// Devices lists what is plugged in now, sorted by ID.
	Devices() ([]Info, error)
	// Watch calls changed, at least once and never concurrently, whenever the
	// answer of Devices may have changed, until ctx ends. It returns nil then.
	Watch(ctx context.Context, changed func()) error
	// Open claims a device. Errors wrap ErrNotFound, ErrInUse or ErrPermission
	// where these are the reason.
	Open(id string, o OpenOptions) (Device, error)
}

// OpenOptions say how to open.
type OpenOptions struct {
	Force bool // take it although Info.InUse says why not
}

// The reasons for which Open fails that a person can do something about.
var (
	ErrNotFound   = errors.New("no such USB device")
	ErrInUse      = errors.New("USB device is in use")
	ErrPermission = errors.New("no permission on the USB device")
)

// Info describes a device.
type Info struct {
	ID                string      `json:"id"`      // where it is plugged in: "1-1.2"; "v-disk" for virtual ones
	Backend           string      `json:"backend"` // usbfs, libusb, virtual
	BusNumber         uint32      `json:"bus"`
	DeviceNumber      uint32      `json:"device"`
	Speed             Speed       `json:"speed"`
	Vendor            uint16      `json:"vendor_id"`
	Product           uint16      `json:"product_id"`
	Release           uint16      `json:"release"` // bcdDevice
	Class             uint8       `json:"class"`
	SubClass          uint8       `json:"subclass"`
	Protocol          uint8       `json:"protocol"`
	Configuration     uint8       `json:"configuration"` // bConfigurationValue of the active one, 0 if none
	NumConfigurations uint8       `json:"configurations"`
	Interfaces        []Interface `json:"interfaces"` // of the active configuration, alternate setting 0
	Manufacturer      string      `json:"manufacturer,omitempty"`
	ProductName       string      `json:"product,omitempty"`
	Serial            string      `json:"serial,omitempty"`
	// Descriptors is the device descriptor and every configuration descriptor
	// with all that follows it, as in sysfs's "descriptors".
	Descriptors []byte `json:"-"`
	// InUse says why the device is not to be taken ("sda1 is mounted on
	// /home"); empty when it is free.
	InUse string `json:"in_use,omitempty"`
}

// Interface is one interface of the active configuration.
type Interface struct {
	Number   uint8 `json:"number"`
	Class    uint8 `json:"class"`
	SubClass uint8 `json:"subclass"`
	Protocol uint8 `json:"protocol"`
}

// Name is what a person calls the device: its product name, else its numbers.
func (i Info) Name() string {
	switch {
	case i.ProductName != "" && i.Manufacturer != "":
		return i.Manufacturer + " " + i.ProductName
	case i.ProductName != "":
		return i.ProductName
	}
	return fmt.Sprintf("%04x:%04x", i.Vendor, i.Product)
}
