package usbip

import (
	"encoding/binary"
	"io"
)

// IsoPacket describes one packet of an isochronous URB
// (struct usbip_iso_packet_descriptor), 16 bytes:
//
//	offset 4 │ length 4 │ actual_length 4 │ status 4
type IsoPacket struct {
	Offset, Length, Actual uint32
	Status                 int32
}

const isoSize = 16

func appendIso(b []byte, packets []IsoPacket) []byte {
	for _, p := range packets {
		for _, v := range []uint32{p.Offset, p.Length, p.Actual, uint32(p.Status)} {
			b = binary.BigEndian.AppendUint32(b, v)
		}
	}
	return b
}

// readIso reads n descriptors, each of which must lie within a buffer of the
// given length.
func readIso(r io.Reader, n, length int) ([]IsoPacket, error) {
	if n == 0 {
		return nil, nil
	}
	b, err := more(r, n*isoSize)
	if err != nil {
		return nil, err
	}
	packets := make([]IsoPacket, n)
	for i := range packets {
		u32 := func(at int) uint32 { return binary.BigEndian.Uint32(b[i*isoSize+at:]) }
		p := IsoPacket{u32(0), u32(4), u32(8), int32(u32(12))}
		if uint64(p.Offset)+uint64(p.Length) > uint64(length) || p.Actual > p.Length {
			return nil, malformed("isochronous packet %d at %d, %d of %d bytes, in a buffer of %d", i, p.Offset, p.Actual, p.Length, length)
		}
		packets[i] = p
	}
	return packets, nil
}

// countIso reads the number of packets, for which non-isochronous messages have
// 0 or -1.
func countIso(n int32) (int, error) {
	if n == -1 {
		return 0, nil
	}
	if n < 0 || n > MaxPackets {
		return 0, malformed("%d isochronous packets, at most %d", n, MaxPackets)
	}
	return int(n), nil
}
