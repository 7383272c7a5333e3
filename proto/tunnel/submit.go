package tunnel

import "encoding/binary"

const submitSize = urbHeaderSize

// Submit is one URB for the endpoint of its lane. Body, big-endian:
//
//	urb 8 │ flags 4 │ interval 4 │ start frame 4 │ length 4 │ packets 4 │ setup 8
//	packets × { offset 4 │ length 4 }
//	data: length bytes (OUT), none (IN)
//
// The data come last so that the receiver can use them in place.
type Submit struct {
	URB        uint64 // from 1
	Flags      uint32 // URB_*, include/linux/usb.h
	Interval   int32
	StartFrame int32
	Length     uint32  // of the transfer, at most MaxTransfer
	Setup      [8]byte // control only, else zero
	// Packets are those of an isochronous URB, each within Length; at most MaxIsoPackets.
	Packets []Packet
	Data    []byte // Length bytes, or none
}

// Packet is one packet of an isochronous URB as the client submits it.
type Packet struct{ Offset, Length uint32 }

// Cost returns the number of bytes that the URB counts against MaxInFlightSum: its data in either direction, its
// packets, and the headers.
func (s *Submit) Cost() int { return urbHeaderSize + isoPacketSize*len(s.Packets) + int(s.Length) }

// Size returns the length of the body in bytes.
func (s *Submit) Size() int { return submitSize + isoPacketSize*len(s.Packets) + len(s.Data) }

// Append appends the body of a KindSubmit frame to b, with a copy of Data.
func (s *Submit) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, s.URB)
	b = binary.BigEndian.AppendUint32(b, s.Flags)
	b = binary.BigEndian.AppendUint32(b, uint32(s.Interval))
	b = binary.BigEndian.AppendUint32(b, uint32(s.StartFrame))
	b = binary.BigEndian.AppendUint32(b, s.Length)
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.Packets)))
	b = append(b, s.Setup[:]...)
	for _, p := range s.Packets {
		b = binary.BigEndian.AppendUint32(b, p.Offset)
		b = binary.BigEndian.AppendUint32(b, p.Length)
	}
	return append(b, s.Data...)
}

// Encode returns the body of a KindSubmit frame, with a copy of Data.
func (s *Submit) Encode() []byte { return s.Append(make([]byte, 0, s.Size())) }

// DecodeSubmit reads the body of a KindSubmit frame. Data is a part of body.
func DecodeSubmit(body []byte) (Submit, error) {
	if len(body) < submitSize {
		return Submit{}, malformed("Submit of %d bytes, want at least %d", len(body), submitSize)
	}
	s := Submit{
		URB:        binary.BigEndian.Uint64(body),
		Flags:      binary.BigEndian.Uint32(body[8:]),
		Interval:   int32(binary.BigEndian.Uint32(body[12:])),
		StartFrame: int32(binary.BigEndian.Uint32(body[16:])),
		Length:     binary.BigEndian.Uint32(body[20:]),
		Setup:      [8]byte(body[28:36]),
	}
	packets := binary.BigEndian.Uint32(body[24:])
	rest := body[submitSize:]
	switch {
	case s.URB == 0:
		return Submit{}, malformed("Submit of URB 0")
	case s.Length > MaxTransfer:
		return Submit{}, malformed("Submit of a transfer of %d bytes, at most %d", s.Length, MaxTransfer)
	case packets > MaxIsoPackets || len(rest) < int(packets)*isoPacketSize:
		return Submit{}, malformed("Submit with %d packets in %d bytes", packets, len(rest))
	}
	if packets > 0 {
		s.Packets = make([]Packet, packets)
	}
	for i := range s.Packets {
		p := Packet{binary.BigEndian.Uint32(rest), binary.BigEndian.Uint32(rest[4:])}
		if p.Offset > s.Length || p.Length > s.Length-p.Offset {
			return Submit{}, malformed("Submit with a packet of %d bytes at %d, beyond its %d",
				p.Length, p.Offset, s.Length)
		}
		s.Packets[i], rest = p, rest[isoPacketSize:]
	}
	if len(rest) != 0 && len(rest) != int(s.Length) {
		return Submit{}, malformed("Submit of %d bytes with %d bytes of data", s.Length, len(rest))
	}
	s.Data = rest
	return s, nil
}

// Cancel asks the host to end an URB early that the client submitted on the same lane. Its body is the URB's number
// in 8 bytes.
type Cancel struct{ URB uint64 }

// Encode returns the body of a KindCancel frame.
func (c Cancel) Encode() []byte { return binary.BigEndian.AppendUint64(nil, c.URB) }

// DecodeCancel reads the body of a KindCancel frame.
func DecodeCancel(body []byte) (Cancel, error) {
	if len(body) != 8 {
		return Cancel{}, malformed("Cancel of %d bytes, want 8", len(body))
	}
	return Cancel{binary.BigEndian.Uint64(body)}, nil
}
