// Package usb defines the agent's interface to USB devices. A [Bus] lists and
// opens devices. An opened [Device] runs [URB]s, which carry everything that an
// URB of the Linux kernel carries.
//
// Providers of devices implement Device: the backends below this package (usbfs,
// libusb, usbip, virtual) and the remote device of a session. Users of devices take a
// Device: the host side of a session and the USB/IP server. A stage does both: it is
// a Device that wraps a Device.
package usb

import (
	"context"
	"errors"
	"fmt"
)

// Speed is the speed of a device, numbered as enum usb_device_speed in the
// kernel (include/uapi/linux/usb/ch9.h). USB/IP sends the same numbers.
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

// Endpoint is a bEndpointAddress (USB 2.0, 9.6.6). Bit 7 is set for IN; bits 0
// to 3 are the endpoint number. Control transfers use 0 for both directions:
// their direction is in the setup packet.
type Endpoint uint8

// In reports whether data flows to the computer. The result has no meaning for
// endpoint 0; use [URB.In] there.
func (e Endpoint) In() bool { return e&0x80 != 0 }

// Number returns the endpoint number, 0 to 15.
func (e Endpoint) Number() uint8 { return uint8(e) & 0x0f }

// Bounds of URBs, which every Device enforces.
const (
	MaxTransfer = 4 << 20 // bytes of URB.Data
	MaxPackets  = 1024    // isochronous packets (kernel: USBIP_MAX_ISO_PACKETS)
	MaxPending  = 512     // URBs of one device that may be in flight
)

// Flags is a set of URB flags with the kernel's values (URB_* in
// include/linux/usb.h), as USB/IP importers send them. Other bits are ignored.
type Flags uint32

// The flags that backends obey.
const (
	ShortNotOK Flags = 0x0001 // a short IN transfer ends with StatusShortRead
	IsoASAP    Flags = 0x0002 // start in the next free frame and ignore StartFrame
	ZeroPacket Flags = 0x0040 // end a bulk OUT of full packets with an empty packet
)

// Status is the result of an URB as in Linux: 0 or a negative errno.
type Status int32

// Statuses and their meaning for USB (Documentation/driver-api/usb/error-codes.rst).
const (
	StatusOK         Status = 0
	StatusNoEntry    Status = -2   // ENOENT: cancelled, synchronously
	StatusIO         Status = -5   // EIO
	StatusNoMemory   Status = -12  // ENOMEM
	StatusNoDevice   Status = -19  // ENODEV: unplugged
	StatusCrossLink  Status = -18  // EXDEV: isochronous transfer only partly done
	StatusInvalid    Status = -22  // EINVAL
	StatusStall      Status = -32  // EPIPE: endpoint halted
	StatusProtocol   Status = -71  // EPROTO: no response, or a bit stuffing error
	StatusOverflow   Status = -75  // EOVERFLOW: babble, more data than the buffer holds
	StatusBadCRC     Status = -84  // EILSEQ
	StatusReset      Status = -104 // ECONNRESET: cancelled
	StatusShutdown   Status = -108 // ESHUTDOWN: device or controller disabled
	StatusTimeout    Status = -110 // ETIMEDOUT
	StatusShortRead  Status = -121 // EREMOTEIO: short transfer with ShortNotOK
	StatusInProgress Status = -115 // EINPROGRESS: no completed URB has it
)

// Cancelled reports whether the URB was cancelled.
func (s Status) Cancelled() bool { return s == StatusReset || s == StatusNoEntry }

// IsoPacket is one packet of an isochronous URB. Offset and Length are in bytes
// and select a part of URB.Data. Actual (bytes) and Status are the result.
type IsoPacket struct {
	Offset, Length, Actual uint32
	Status                 Status
}

// URB is one USB request. The submitter fills in the first part. From Submit
// until the call of Done the URB belongs to the Device, then to the submitter
// again.
type URB struct {
	Endpoint Endpoint
	Setup    [8]byte // control only: bmRequestType, bRequest, wValue, wIndex, wLength
	Flags    Flags
	// Data is the payload of an OUT, or the buffer of an IN, whose length is
	// the requested length. At most MaxTransfer bytes.
	Data       []byte
	Packets    []IsoPacket // for isochronous URBs only: 1 to MaxPackets
	Interval   int32       // in frames (1 ms) or, from high speed on, microframes (125 µs)
	StartFrame int32
	// Done is called exactly once, on any goroutine, possibly before Submit
	// returns. It must not block.
	Done func(*URB)

	// The result. An IN has received Data[:Actual], or, if it is isochronous,
	// Actual bytes in total at the packets' offsets. An OUT has sent Actual
	// bytes.
	Status     Status
	Actual     int
	ErrorCount int32 // packets of an isochronous URB that failed
}

// In reports whether data flows to the computer.
func (u *URB) In() bool {
	if u.Endpoint.Number() == 0 {
		return u.Setup[0]&0x80 != 0
	}
	return u.Endpoint.In()
}

// Finish sets the status of the URB and calls Done.
func (u *URB) Finish(s Status) {
	u.Status = s
	u.Done(u)
}

// Begin is for implementations of [Device.Submit]. It clears the result, checks
// the URB (see [URB.Check]) and passes it to enqueue. If the check fails or
// enqueue returns anything but StatusOK, Begin completes the URB with that
// status. It reports whether enqueue accepted the URB.
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

// Device is an opened device. It owns the device's interfaces: they are claimed,
// and no kernel driver is bound to them. Methods may be called concurrently.
type Device interface {
	// Info returns the description that was current when the device was opened.
	Info() Info
	// Submit starts u and does not block. URBs of one endpoint run in the order
	// of submission. Every submitted URB is completed: those that are pending
	// when the device is unplugged or closed end with StatusNoDevice or
	// StatusShutdown.
	//
	// Requests that change the state of the device (see [Setup.Change]) arrive
	// as ordinary control URBs. Among them is SET_FEATURE(PORT_RESET) to a hub's
	// port, by which USB/IP asks for a reset of the device. The Device performs
	// them.
	Submit(u *URB)
	// Cancel asks for the early end of a submitted URB and does not block. The
	// URB completes with StatusReset, or with its own result if it was already
	// done. Cancelling an URB that is not pending has no effect.
	Cancel(u *URB)
	// Gone returns a channel that is closed when the device is unplugged or its
	// session has ended.
	Gone() <-chan struct{}
	// Close cancels the pending URBs, waits for their completion, resets the
	// device and returns it to the kernel's drivers. Further calls return the
	// same result.
	Close() error
}

// Bus lists and opens devices. Methods may be called concurrently.
type Bus interface {
	// Devices returns the devices that are plugged in now, sorted by ID.
	Devices() ([]Info, error)
	// Watch calls changed once at the start and whenever the result of Devices
	// may have changed. It never makes two calls at a time. It returns nil when
	// ctx ends.
	Watch(ctx context.Context, changed func()) error
	// Open opens a device and claims its interfaces. Errors wrap ErrNotFound,
	// ErrInUse or ErrPermission if one of these is the reason.
	Open(id string, o OpenOptions) (Device, error)
}

// OpenOptions holds the options of [Bus.Open].
type OpenOptions struct {
	Force bool // open the device even if Info.InUse gives a reason against it
}

// Reasons why Open fails, which a person can act on.
var (
	ErrNotFound   = errors.New("no such USB device")
	ErrInUse      = errors.New("USB device is in use")
	ErrPermission = errors.New("no permission on the USB device")
)

// Info describes a device.
type Info struct {
	ID                string // the port: "1-1.2"; a name such as "v-disk" for virtual devices
	Backend           string // usbfs, libusb, usbip, virtual
	BusNumber         uint32
	DeviceNumber      uint32
	Speed             Speed
	Vendor            uint16
	Product           uint16
	Release           uint16 // bcdDevice
	Class             uint8
	SubClass          uint8
	Protocol          uint8
	Configuration     uint8 // bConfigurationValue of the active configuration, or 0
	NumConfigurations uint8
	Interfaces        []Interface // of the active configuration, alternate setting 0
	Manufacturer      string
	ProductName       string
	Serial            string
	// Descriptors holds the device descriptor and then each configuration
	// descriptor with the descriptors that belong to it, as the file
	// "descriptors" in sysfs. At most MaxDescriptors bytes.
	Descriptors []byte
	// InUse is the reason why the device must not be opened ("sda1 is mounted on
	// /home"), or empty if the device is free.
	InUse string
}

// Interface is one interface of the active configuration.
type Interface struct {
	Number   uint8
	Class    uint8
	SubClass uint8
	Protocol uint8
}

// Name returns a name for people: manufacturer and product, or the product
// alone, or the vendor and product numbers ("1209:0001").
func (i Info) Name() string {
	switch {
	case i.ProductName != "" && i.Manufacturer != "":
		return i.Manufacturer + " " + i.ProductName
	case i.ProductName != "":
		return i.ProductName
	}
	return fmt.Sprintf("%04x:%04x", i.Vendor, i.Product)
}
