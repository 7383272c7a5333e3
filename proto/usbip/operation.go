package usbip

import (
	"encoding/binary"
	"io"
)

// Operation codes. The top bit tells requests (OP_REQUEST) from replies
// (OP_REPLY). The header of an operation has 8 bytes (struct op_common):
//
//	version 2 │ code 2 │ status 4
const (
	opRequest    = 0x8000
	opImport     = 0x0003
	opDevlist    = 0x0005
	opHeaderSize = 8
)

// Status is the status in the reply to an operation.
type Status uint32

// The statuses for which stock clients print a sentence (ST_... in
// tools/usb/usbip/libsrc/usbip_common.h).
const (
	StatusOK       Status = 0 // ST_OK
	StatusFailed   Status = 1 // ST_NA: not available
	StatusBusy     Status = 2 // ST_DEV_BUSY: another importer has the device
	StatusError    Status = 3 // ST_DEV_ERR: the device has failed
	StatusNoDevice Status = 4 // ST_NODEV: no device has the bus ID
)

// Request is the first message of an importer: *ReqDevlist or *ReqImport.
type Request interface{ request() }

// ReadRequest reads the request at the beginning of a connection. It returns
// io.EOF if the connection ends before. Other errors wrap ErrMalformed or the
// error of r.
func ReadRequest(r io.Reader) (Request, error) {
	h, err := readFirst(r, opHeaderSize)
	if err != nil {
		return nil, err
	}
	if v := binary.BigEndian.Uint16(h); v != Version {
		return nil, malformed("version %#04x, want %#04x", v, Version)
	}
	switch code := binary.BigEndian.Uint16(h[2:]); code {
	case opRequest | opDevlist:
		return &ReqDevlist{}, nil
	case opRequest | opImport:
		return readReqImport(r)
	default:
		return nil, malformed("operation %#04x", code)
	}
}

// appendOp appends the header of an operation.
func appendOp(b []byte, code uint16, s Status) []byte {
	b = binary.BigEndian.AppendUint16(b, Version)
	b = binary.BigEndian.AppendUint16(b, code)
	return binary.BigEndian.AppendUint32(b, uint32(s))
}

// readReply reads the header of the reply to operation op.
func readReply(r io.Reader, op uint16) (Status, error) {
	h, err := readFirst(r, opHeaderSize)
	if err != nil {
		return 0, err
	}
	v, code := binary.BigEndian.Uint16(h), binary.BigEndian.Uint16(h[2:])
	if v != Version || code != op {
		return 0, malformed("version %#04x, operation %#04x; want %#04x and %#04x", v, code, Version, op)
	}
	return Status(binary.BigEndian.Uint32(h[4:])), nil
}
