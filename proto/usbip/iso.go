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
	Offset, Length, Actual uint32 // in bytes; Offset within the transfer buffer
	Status                 int32  // 0 or a negative errno
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

// readIso reads n descriptors. It returns ErrMalformed if a packet does not lie
// within a transfer buffer of length bytes.
func readIso(r io.Reader, n, length int) ([]IsoPacket, error) {
	if n == 0 {
		return nil, nil
	}
	b, err := readRest(r, n*isoSize)
	if err != nil {
		return nil, err
	}
	packets := make([]IsoPacket, n)
	for i := range packets {
		u32 := func(at int) uint32 { return binary.BigEndian.Uint32(b[i*isoSize+at:]) }
		p := IsoPacket{u32(0), u32(4), u32(8), int32(u32(12))}
		if uint64(p.Offset)+uint64(p.Length) > uint64(length) || p.Actual > p.Length {
			return nil, malformed("isochronous packet %d at offset %d, %d of %d bytes, in a buffer of %d bytes",
				i, p.Offset, p.Actual, p.Length, length)
		}
		packets[i] = p
	}
	return packets, nil
}

// countIso returns the number of isochronous packets for the field
// number_of_packets, which is 0 or -1 in messages of other URBs.
func countIso(n int32) (int, error) {
	if n == -1 {
		return 0, nil
	}
	if n < 0 || n > MaxPackets {
		return 0, malformed("%d isochronous packets, limit %d", n, MaxPackets)
	}
	return int(n), nil
}
