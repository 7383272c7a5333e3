package usbip

import (
	"encoding/binary"
	"io"
	"slices"

	"github.com/easyfind-usb/easyfind/internal/bufferpool"
)

// CmdSubmit submits an URB (USBIP_CMD_SUBMIT):
//
//	header 20 │ transfer_flags 4 │ transfer_buffer_length 4 │ start_frame 4 │
//	number_of_packets 4 │ interval 4 │ setup 8 │ data (Out) │ iso descriptors
type CmdSubmit struct {
	Header
	Flags      uint32      // URB_* in include/linux/usb.h
	Length     uint32      // bytes of the transfer buffer, at most MaxTransfer
	StartFrame int32       // isochronous only
	Interval   int32       // in frames or microframes
	Setup      [8]byte     // control only
	Data       []byte      // Out: Length bytes; In: nil
	Packets    []IsoPacket // isochronous only, at most MaxPackets
	// Buffer receives the data of an In that is not isochronous, in ReadReply. It is
	// not sent. It has Length bytes, or is nil: then ReadReply allocates memory.
	Buffer []byte
}

func (*CmdSubmit) command() {}

// AppendTo appends the message to b.
func (m *CmdSubmit) AppendTo(b []byte) []byte {
	b = slices.Grow(b, headerSize+len(m.Data)+len(m.Packets)*isoSize)
	b = m.Header.appendTo(b, codeCmdSubmit)
	for _, v := range []uint32{m.Flags, m.Length, uint32(m.StartFrame), uint32(len(m.Packets)), uint32(m.Interval)} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	b = append(b, m.Setup[:]...)
	b = append(b, m.Data...)
	return appendIso(b, m.Packets)
}

// readCmdSubmit reads the rest of a CmdSubmit. b holds its first headerSize bytes.
func readCmdSubmit(r io.Reader, h Header, b []byte) (*CmdSubmit, error) {
	u32 := func(at int) uint32 { return binary.BigEndian.Uint32(b[at:]) }
	m := &CmdSubmit{Header: h, Flags: u32(20), Length: u32(24), StartFrame: int32(u32(28)), Interval: int32(u32(36))}
	copy(m.Setup[:], b[40:])
	if m.Length > MaxTransfer {
		return nil, malformed("transfer of %d bytes, limit %d", m.Length, MaxTransfer)
	}
	n, err := countIso(int32(u32(32)))
	if err != nil {
		return nil, err
	}
	if h.Direction == Out {
		m.Data = received.Get(int(m.Length))
		if err = readInto(r, m.Data); err != nil {
			return nil, err
		}
	}
	m.Packets, err = readIso(r, n, int(m.Length))
	return m, err
}

// received holds the data of commands that ReadCommand returned and FreeData took back.
var received bufferpool.Pool

// FreeData lets ReadCommand use the data of a command again. The receiver of the command may
// call it once it no longer needs them; data that are never freed are collected as garbage.
func FreeData(data []byte) { received.Put(data) }

// RetSubmit is the result of a CmdSubmit (USBIP_RET_SUBMIT):
//
//	header 20 │ status 4 │ actual_length 4 │ start_frame 4 │ number_of_packets 4 │
//	error_count 4 │ padding 8 │ data (In) │ iso descriptors
//
// On the wire, the data of an isochronous In are the received bytes of its
// packets without gaps. In the field Data they are at the packets' offsets.
type RetSubmit struct {
	Header
	Status     int32       // 0 or a negative errno
	Actual     uint32      // bytes transferred
	StartFrame int32       // isochronous only
	ErrorCount int32       // number of packets that failed
	Data       []byte      // In: the received bytes; Out: nil
	Packets    []IsoPacket // isochronous only
}

func (*RetSubmit) reply() {}

// AppendTo appends the message to b.
func (m *RetSubmit) AppendTo(b []byte) []byte {
	b = Header{Seq: m.Seq}.appendPadded(b, codeRetSubmit,
		uint32(m.Status), m.Actual, uint32(m.StartFrame), uint32(len(m.Packets)), uint32(m.ErrorCount))
	if len(m.Packets) == 0 {
		return append(b, m.Data...)
	}
	if m.Data != nil {
		for _, p := range m.Packets {
			b = append(b, m.Data[p.Offset:p.Offset+p.Actual]...)
		}
	}
	return appendIso(b, m.Packets)
}

// appendPadded appends the header and up to seven fields of 4 bytes, padded with
// zeros to headerSize.
func (h Header) appendPadded(b []byte, code uint32, fields ...uint32) []byte {
	b = h.appendTo(b, code)
	for i := range (headerSize - 20) / 4 {
		v := uint32(0)
		if i < len(fields) {
			v = fields[i]
		}
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

// readRetSubmit reads the rest of the reply to cmd. b holds its first headerSize
// bytes. It returns ErrMalformed if the reply does not match the command: more
// data than requested, another number of packets, or packets at other places in
// the buffer (CVE-2026-31607).
func readRetSubmit(r io.Reader, h Header, b []byte, cmd *CmdSubmit) (*RetSubmit, error) {
	u32 := func(at int) uint32 { return binary.BigEndian.Uint32(b[at:]) }
	m := &RetSubmit{
		Header: h, Status: int32(u32(20)), Actual: u32(24), StartFrame: int32(u32(28)), ErrorCount: int32(u32(36)),
	}
	n, err := countIso(int32(u32(32)))
	switch {
	case err != nil:
		return nil, err
	case m.Actual > cmd.Length:
		return nil, malformed("reply with %d bytes to a request for %d bytes", m.Actual, cmd.Length)
	case n != len(cmd.Packets):
		return nil, malformed("reply with %d isochronous packets to a request with %d", n, len(cmd.Packets))
	}
	if cmd.Direction == In {
		if m.Data, err = readData(r, int(m.Actual), cmd, n > 0); err != nil {
			return nil, err
		}
	}
	if n == 0 {
		return m, nil
	}
	if m.Packets, err = readIso(r, n, int(cmd.Length)); err != nil {
		return nil, err
	}
	return m, m.placePackets(cmd)
}

// readData reads n bytes of the reply to cmd, into its buffer if it has one and the
// reply is not isochronous.
func readData(r io.Reader, n int, cmd *CmdSubmit, isochronous bool) ([]byte, error) {
	if isochronous || cmd.Buffer == nil || n > len(cmd.Buffer) {
		return readRest(r, n)
	}
	return cmd.Buffer[:n], readInto(r, cmd.Buffer[:n])
}

// placePackets checks that the packets are those of cmd, and moves the received
// data to the packets' offsets.
func (m *RetSubmit) placePackets(cmd *CmdSubmit) error {
	sum := uint64(0)
	for i, p := range m.Packets {
		if want := cmd.Packets[i]; p.Offset != want.Offset || p.Length != want.Length {
			return malformed("isochronous packet %d at offset %d with %d bytes, want offset %d with %d bytes",
				i, p.Offset, p.Length, want.Offset, want.Length)
		}
		sum += uint64(p.Actual)
	}
	if m.Data == nil {
		return nil
	}
	if sum != uint64(len(m.Data)) {
		return malformed("isochronous packets with %d bytes in total, but %d bytes of data", sum, len(m.Data))
	}
	packed := m.Data
	m.Data = make([]byte, cmd.Length)
	for _, p := range m.Packets {
		packed = packed[copy(m.Data[p.Offset:], packed[:p.Actual]):]
	}
	return nil
}
