package tunnel

import "encoding/binary"

const submitSize = urbHeaderSize

// Submit is one URB for the endpoint of its lane. Body, big-endian:
//
//	urb 8 │ flags 4 │ interval 4 │ start frame 4 │ length 4 │ packets 4 │ setup 8
//	packets × { offset 4 │ length 4 }
//	data: length bytes (OUT), none (IN)
//
// Data comes last so that it can be used where it lies.
type Submit struct {
	URB        uint64 // from 1
	Flags      uint32 // URB_*, include/linux/usb.h
	Interval   int32
	StartFrame int32
	Length     uint32  // of the transfer, at most MaxTransfer
	Setup      [8]byte // control only, else zero
	// Packets are those of an isochronous URB, each within Length; at most
	// MaxIsoPackets.
	Packets []Packet
	Data    []byte // Length bytes, or none
}

// Packet is one packet of an isochronous URB as it was asked for.
type Packet struct{ Offset, Length uint32 }

// Cost is what the URB counts against MaxInFlightSum, in bytes: its data in
// whichever direction, its packets, and the headers.
func (s *Submit) Cost() int { return urbHeaderSize + isoPacketSize*len(s.Packets) + int(s.Length) }

// Encode returns the body of a KindSubmit frame, with Data copied into it.
func (s *Submit) Encode() []byte {
	b := make([]byte, 0, submitSize+isoPacketSize*len(s.Packets)+len(s.Data))
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

// DecodeSubmit reads the body of a KindSubmit frame. Data lies within body.
func DecodeSubmit(body []byte) (*Submit, error) {
	if len(body) < submitSize {
		return nil, malformed("Submit of %d bytes, want at least %d", len(body), submitSize)
	}
	s := &Submit{
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
		return nil, malformed("Submit of URB 0")
	case s.Length > MaxTransfer:
		return nil, malformed("Submit of a transfer of %d bytes, at most %d", s.Length, MaxTransfer)
	case packets > MaxIsoPackets || len(rest) < int(packets)*isoPacketSize:
		return nil, malformed("Submit with %d packets in %d bytes", packets, len(rest))
	}
	if packets > 0 {
		s.Packets = make([]Packet, packets)
	}
	for i := range s.Packets {
		p := Packet{binary.BigEndian.Uint32(rest), binary.BigEndian.Uint32(rest[4:])}
		if p.Offset > s.Length || p.Length > s.Length-p.Offset {
			return nil, malformed("Submit with a packet of %d bytes at %d, beyond its %d", p.Length, p.Offset, s.Length)
		}
		s.Packets[i], rest = p, rest[isoPacketSize:]
	}
	if len(rest) != 0 && len(rest) != int(s.Length) {
		return nil, malformed("Submit of %d bytes with %d bytes of data", s.Length, len(rest))
	}
	s.Data = rest
	return s, nil
}

// Cancel asks for the early end of an URB submitted on the same lane. Its
// body is the URB's number in 8 bytes.
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
