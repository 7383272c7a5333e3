package usbip

import (
	"encoding/binary"
	"io"
)

// Operation codes: OP_REQUEST or OP_REPLY in the top bit, then the operation.
const (
	opRequest    = 0x8000
	opImport     = 0x0003
	opDevlist    = 0x0005
	opHeaderSize = 8
)

// Status of an operation's reply (ST_OK, ST_NA, ... in usbip_common.h).
type Status uint32

// The statuses that stock clients print a sentence for.
const (
	StatusOK       Status = 0
	StatusFailed   Status = 1 // ST_NA: not available
	StatusBusy     Status = 2 // ST_DEV_BUSY: exported to somebody
	StatusError    Status = 3 // ST_DEV_ERR
	StatusNoDevice Status = 4 // ST_NODEV
)

// Request is what an importer may ask: *ReqDevlist or *ReqImport.
type Request interface{ request() }

// ReadRequest reads the one request that begins a connection.
func ReadRequest(r io.Reader) (Request, error) {
	h, err := read(r, opHeaderSize)
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

func appendOp(b []byte, code uint16, s Status) []byte {
	b = binary.BigEndian.AppendUint16(b, Version)
	b = binary.BigEndian.AppendUint16(b, code)
	return binary.BigEndian.AppendUint32(b, uint32(s))
}

// readReply reads the header of the reply to an operation.
func readReply(r io.Reader, op uint16) (Status, error) {
	h, err := read(r, opHeaderSize)
	if err != nil {
		return 0, err
	}
	v, code := binary.BigEndian.Uint16(h), binary.BigEndian.Uint16(h[2:])
	if v != Version || code != op {
		return 0, malformed("version %#04x, operation %#04x; want %#04x and %#04x", v, code, Version, op)
	}
	return Status(binary.BigEndian.Uint32(h[4:])), nil
}
