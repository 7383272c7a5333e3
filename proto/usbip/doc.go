// Package usbip encodes and decodes the messages of USB/IP version 1.1.1 as the
// Linux kernel implements it (Documentation/usb/usbip_protocol.rst,
// drivers/usb/usbip/). Each message has a file with its encoder and decoder. All
// integers are big-endian. In the layouts, the number after a field is its
// length in bytes.
//
// The exporter offers devices, the importer uses them. A connection begins in the
// operation phase with one request. After an import the URB phase follows:
//
//	importer                         exporter
//	│ ReqDevlist ─────────────────────►│
//	│◄───────────────────── RepDevlist │  then the connection ends
//
//	│ ReqImport{busid} ───────────────►│
//	│◄────────────── RepImport{device} │  if the status is 0, the URB phase begins
//	│ CmdSubmit{seq 1} ───────────────►│
//	│ CmdSubmit{seq 2} ───────────────►│  many URBs may be in flight
//	│ CmdUnlink{seq 3, unlink 2} ─────►│
//	│◄─────────────────── RetSubmit{1} │
//	│◄─────────────────── RetUnlink{3} │  -ECONNRESET: URB 2 was cancelled and gets
//	│                                  │  no RetSubmit; 0: RetSubmit{2} was sent before
//
// If an unlink comes too late, the exporter must send the RetSubmit before the
// RetUnlink: otherwise vhci_hcd drops the device.
//
// The types show the direction: the importer sends a [Request] or a [Command], the
// exporter a [Reply] or one of the types Rep.... The decoders check every length
// against a bound before they allocate memory.
package usbip

import (
	"errors"
	"fmt"
	"io"
)

// Version is the protocol version on the wire: 1.1.1.
const Version = 0x0111

// Bounds. The decoders return ErrMalformed for messages that exceed one.
const (
	MaxTransfer = 4 << 20 // bytes of one transfer buffer
	MaxPackets  = 1024    // isochronous packets of one URB (kernel: USBIP_MAX_ISO_PACKETS)
	MaxDevices  = 256     // devices in a list
	maxPath     = 256     // bytes of a path, with the final zero (SYSFS_PATH_MAX)
	maxBusID    = 32      // bytes of a bus ID, with the final zero (SYSFS_BUS_ID_SIZE)
)

// ErrMalformed is returned for messages that violate the protocol or exceed a
// bound.
var ErrMalformed = errors.New("malformed USB/IP message")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// Direction is the direction of a transfer.
type Direction uint32

// The directions.
const (
	Out Direction = 0 // USBIP_DIR_OUT: to the device
	In  Direction = 1 // USBIP_DIR_IN: from the device
)

// readFirst reads the first n bytes of a message. It returns io.EOF if the
// connection ends before them, and io.ErrUnexpectedEOF if it ends within them.
func readFirst(r io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

// readRest reads n more bytes of a message. It returns io.ErrUnexpectedEOF if the
// connection ends.
func readRest(r io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	return b, readInto(r, b)
}

// readInto fills b with more bytes of a message. It returns io.ErrUnexpectedEOF if the
// connection ends.
func readInto(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
