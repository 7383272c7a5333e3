package usbip

import (
	"encoding/binary"
	"io"
)

// Commands of the URB phase (USBIP_CMD_SUBMIT and so on, usbip_common.h).
const (
	codeCmdSubmit = 1
	codeCmdUnlink = 2
	codeRetSubmit = 3
	codeRetUnlink = 4
	headerSize    = 48 // bytes of struct usbip_header, the same for all commands
)

// Header is the beginning of every message of the URB phase (struct
// usbip_header_basic), 20 bytes:
//
//	command 4 │ seqnum 4 │ devid 4 │ direction 4 │ ep 4
//
// In replies all fields but command and seqnum are zero, as in the kernel's.
type Header struct {
	Seq       uint32    // a command's own number; a reply repeats that of its command
	DevID     uint32    // see Device.DevID
	Direction Direction // of the URB's data
	Endpoint  uint32    // endpoint number, 0 to 15
}

// Command is a message from the importer to the exporter: *CmdSubmit or
// *CmdUnlink.
type Command interface{ command() }

// Reply is a message from the exporter to the importer: *RetSubmit or *RetUnlink.
type Reply interface{ reply() }

func (h Header) appendTo(b []byte, code uint32) []byte {
	for _, v := range []uint32{code, h.Seq, h.DevID, uint32(h.Direction), h.Endpoint} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

// parseHeader parses the first 20 bytes of b.
func parseHeader(b []byte) (code uint32, h Header, err error) {
	u32 := binary.BigEndian.Uint32
	h = Header{Seq: u32(b[4:]), DevID: u32(b[8:]), Direction: Direction(u32(b[12:])), Endpoint: u32(b[16:])}
	if h.Direction > In || h.Endpoint > 15 {
		err = malformed("direction %d, endpoint %d", h.Direction, h.Endpoint)
	}
	return u32(b), h, err
}

// ReadCommand reads the next command. It returns io.EOF if the connection ends
// between two commands. Other errors wrap ErrMalformed or the error of r.
func ReadCommand(r io.Reader) (Command, error) {
	b, err := readFirst(r, headerSize)
	if err != nil {
		return nil, err
	}
	code, h, err := parseHeader(b)
	switch {
	case err != nil:
		return nil, err
	case code == codeCmdSubmit:
		return readCmdSubmit(r, h, b)
	case code == codeCmdUnlink:
		return &CmdUnlink{Header: h, Unlink: binary.BigEndian.Uint32(b[20:])}, nil
	}
	return nil, malformed("command %d", code)
}

// ReadReply reads the next reply. The length of a RetSubmit depends on its
// command, which submitted must return for a Seq, or nil if no such command is
// pending. ReadReply returns io.EOF if the connection ends between two replies.
// Other errors wrap ErrMalformed or the error of r.
func ReadReply(r io.Reader, submitted func(seq uint32) *CmdSubmit) (Reply, error) {
	b, err := readFirst(r, headerSize)
	if err != nil {
		return nil, err
	}
	code, h, err := parseHeader(b)
	switch {
	case err != nil:
		return nil, err
	case code == codeRetSubmit:
		cmd := submitted(h.Seq)
		if cmd == nil {
			return nil, malformed("reply to request %d, which is not pending", h.Seq)
		}
		return readRetSubmit(r, h, b, cmd)
	case code == codeRetUnlink:
		return &RetUnlink{Header: h, Status: int32(binary.BigEndian.Uint32(b[20:]))}, nil
	}
	return nil, malformed("reply %d", code)
}
