// Package usbip is the USB/IP protocol, version 1.1.1, as the Linux kernel
// speaks it (Documentation/usb/usbip_protocol.rst; drivers/usb/usbip/): one
// file per message, encoder beside decoder. All integers are big-endian.
//
// A connection begins in the operation phase, with one request:
//
//	importer                         exporter
//	│ ReqDevlist ─────────────────────►│
//	│◄───────────────────── RepDevlist │  the connection ends
//
//	│ ReqImport{busid} ───────────────►│
//	│◄────────────── RepImport{device} │  status 0: the URB phase begins
//	│ CmdSubmit{seq 1} ───────────────►│
//	│ CmdSubmit{seq 2} ───────────────►│  many in flight
//	│ CmdUnlink{seq 3, unlink 2} ─────►│
//	│◄─────────────────── RetSubmit{1} │
//	│◄─────────────────── RetUnlink{3} │  -ECONNRESET: 2 was cancelled and gets
//	│                                  │  no RetSubmit; 0: RetSubmit{2} went before
//
// A RetUnlink must never overtake the RetSubmit of the URB that it missed:
// vhci_hcd then drops the device.
//
// The direction is in the types: a [Command] goes from the importer to the
// exporter, a [Reply] back. Every length is bounded before it is believed.
package usbip

import (
	"errors"
	"fmt"
	"io"
)

// Version is the protocol version on the wire: 1.1.1.
const Version = 0x0111

// Bounds. What exceeds one is ErrMalformed.
const (
	MaxTransfer = 4 << 20 // bytes of one transfer buffer
	MaxPackets  = 1024    // isochronous packets of one URB (kernel: USBIP_MAX_ISO_PACKETS)
	MaxDevices  = 256     // in a device list
	maxPath     = 256     // bytes, with the final zero (SYSFS_PATH_MAX)
	maxBusID    = 32      // bytes, with the final zero (SYSFS_BUS_ID_SIZE)
)

// ErrMalformed is the error of every message that cannot be one.
var ErrMalformed = errors.New("malformed USB/IP message")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// Direction of a transfer (USBIP_DIR_OUT, USBIP_DIR_IN).
type Direction uint32

// The directions.
const (
	Out Direction = 0
	In  Direction = 1
)

// read fills a buffer of n bytes; a connection that ends within it is an
// unexpected end, one that ends before it is io.EOF.
func read(r io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

// more is read within a message: any end is unexpected.
func more(r io.Reader, n int) ([]byte, error) {
	b, err := read(r, n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}
