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
	headerSize    = 48 // struct usbip_header, whatever the command
)

// Header begins every message of the URB phase (struct usbip_header_basic):
//
//	command 4 │ seqnum 4 │ devid 4 │ direction 4 │ ep 4
//
// In replies the kernel sends zero for all but command and seqnum, and so do we.
type Header struct {
	Seq       uint32 // of this message; unlink commands have their own
	DevID     uint32 // Device.DevID
	Direction Direction
	Endpoint  uint32 // 0 to 15
}

// Command goes from the importer to the exporter: *CmdSubmit or *CmdUnlink.
type Command interface{ command() }

// Reply goes from the exporter to the importer: *RetSubmit or *RetUnlink.
type Reply interface{ reply() }

func (h Header) appendTo(b []byte, code uint32) []byte {
	for _, v := range []uint32{code, h.Seq, h.DevID, uint32(h.Direction), h.Endpoint} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

func parseHeader(b []byte) (code uint32, h Header, err error) {
	u32 := binary.BigEndian.Uint32
	h = Header{Seq: u32(b[4:]), DevID: u32(b[8:]), Direction: Direction(u32(b[12:])), Endpoint: u32(b[16:])}
	if h.Direction > In || h.Endpoint > 15 {
		err = malformed("direction %d, endpoint %d", h.Direction, h.Endpoint)
	}
	return u32(b), h, err
}

// ReadCommand reads the next command. io.EOF is an end between two commands.
func ReadCommand(r io.Reader) (Command, error) {
	b, err := read(r, headerSize)
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

// ReadReply reads the next reply. asked returns the command that a RetSubmit
// answers, without which its length cannot be known; nil is an error.
func ReadReply(r io.Reader, asked func(seq uint32) *CmdSubmit) (Reply, error) {
	b, err := read(r, headerSize)
	if err != nil {
		return nil, err
	}
	code, h, err := parseHeader(b)
	switch {
	case err != nil:
		return nil, err
	case code == codeRetSubmit:
		cmd := asked(h.Seq)
		if cmd == nil {
			return nil, malformed("reply to request %d, which is not pending", h.Seq)
		}
		return readRetSubmit(r, h, b, cmd)
	case code == codeRetUnlink:
		return &RetUnlink{Header: h, Status: int32(binary.BigEndian.Uint32(b[20:]))}, nil
	}
	return nil, malformed("reply %d", code)
}
