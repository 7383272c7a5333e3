package tunnel

import "encoding/binary"

const completeSize = 28

// Complete is the result of an URB that was submitted on the same lane. Body, big-endian:
//
//	urb 8 │ status 4 │ actual 4 │ start frame 4 │ errors 4 │ packets 4
//	packets × { actual 4 │ status 4 }
//	data: actual bytes (IN), none (OUT)
//
// The data of an isochronous URB are those of its packets without the gaps between them. The receiver checks whether
// a Complete fits its Submit.
type Complete struct {
	URB        uint64
	Status     int32  // 0 or a negated errno
	Actual     uint32 // bytes transferred, at most MaxTransfer
	StartFrame int32
	Errors     int32 // packets with an error
	Packets    []PacketResult
	Data       []byte // Actual bytes, or none
}

// PacketResult is the result of one packet of an isochronous URB.
type PacketResult struct {
	Actual uint32
	Status int32
}

// CompleteSize returns the length in bytes of the body of a KindComplete frame with that many packets and bytes of
// data.
func CompleteSize(packets, length int) int { return completeSize + isoPacketSize*packets + length }

// CompleteData returns the place of the data in a body of CompleteSize bytes with that many packets. A device can
// read into it, and [Complete.Seal] then finishes the body without a copy.
func CompleteData(body []byte, packets int) []byte { return body[CompleteSize(packets, 0):] }

// Seal writes all but the data into body, which has CompleteSize bytes for as many packets, and returns it cut to
// len(c.Data) bytes of data. The data are in place already: c.Data is the beginning of what CompleteData returned.
func (c *Complete) Seal(body []byte) []byte {
	b := binary.BigEndian.AppendUint64(body[:0], c.URB)
	b = binary.BigEndian.AppendUint32(b, uint32(c.Status))
	b = binary.BigEndian.AppendUint32(b, c.Actual)
	b = binary.BigEndian.AppendUint32(b, uint32(c.StartFrame))
	b = binary.BigEndian.AppendUint32(b, uint32(c.Errors))
	b = binary.BigEndian.AppendUint32(b, uint32(len(c.Packets)))
	for _, p := range c.Packets {
		b = binary.BigEndian.AppendUint32(b, p.Actual)
		b = binary.BigEndian.AppendUint32(b, uint32(p.Status))
	}
	return body[:len(b)+len(c.Data)]
}

// Encode returns the body of a KindComplete frame, with a copy of Data.
func (c *Complete) Encode() []byte {
	body := make([]byte, CompleteSize(len(c.Packets), len(c.Data)))
	copy(CompleteData(body, len(c.Packets)), c.Data)
	return c.Seal(body)
}

// DecodeComplete reads the body of a KindComplete frame. Data is a part of body.
func DecodeComplete(body []byte) (Complete, error) {
	if len(body) < completeSize {
		return Complete{}, malformed("Complete of %d bytes, want at least %d", len(body), completeSize)
	}
	c := Complete{
		URB:        binary.BigEndian.Uint64(body),
		Status:     int32(binary.BigEndian.Uint32(body[8:])),
		Actual:     binary.BigEndian.Uint32(body[12:]),
		StartFrame: int32(binary.BigEndian.Uint32(body[16:])),
		Errors:     int32(binary.BigEndian.Uint32(body[20:])),
	}
	packets := binary.BigEndian.Uint32(body[24:])
	rest := body[completeSize:]
	switch {
	case c.URB == 0:
		return Complete{}, malformed("Complete of URB 0")
	case c.Actual > MaxTransfer:
		return Complete{}, malformed("Complete of %d bytes, at most %d", c.Actual, MaxTransfer)
	case packets > MaxIsoPackets || len(rest) < int(packets)*isoPacketSize:
		return Complete{}, malformed("Complete with %d packets in %d bytes", packets, len(rest))
	}
	if packets > 0 {
		c.Packets = make([]PacketResult, packets)
	}
	for i := range c.Packets {
		c.Packets[i] = PacketResult{binary.BigEndian.Uint32(rest), int32(binary.BigEndian.Uint32(rest[4:]))}
		rest = rest[isoPacketSize:]
	}
	if len(rest) != 0 && len(rest) != int(c.Actual) {
		return Complete{}, malformed("Complete of %d bytes with %d bytes of data", c.Actual, len(rest))
	}
	c.Data = rest
	return c, nil
}
