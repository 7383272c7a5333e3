package tunnel

import "encoding/binary"

// Bounds of isochronous datagrams.
const (
	MaxLossy       = 1100 // bytes of the body of a lossy frame: a QUIC packet of 1200 bytes holds it
	MaxIsoShards   = 255  // of one block, those of parity included
	MaxIsoBlock    = 192 * maxShardData
	MaxIsoInterval = 1 << 15  // microframes between two packets (USB 2.0, 9.6.6)
	MaxIsoRoom     = 3 * 1024 // bytes of one packet: three transactions of 1024 (USB 2.0, 5.9)
)

const (
	shardSize    = 15
	maxShardData = MaxLossy - shardSize
	blockSize    = 10
	packetSize   = 4
	reportSize   = 43
)

// Shard is one part of an encoded [IsoBlock] of the endpoint of its lane. The block is cut into as many data shards of
// equal length as Data says; the last one is padded with zeros. Parity shards of the same length follow them: any Data
// of the shards give the block. The code is a systematic Reed-Solomon code over GF(2^8) with the polynomial 0x11d:
// parity shard r (counted on from the data shards) is the sum of data shard c divided by r XOR c. Body, big-endian:
//
//	stream 4 │ block 4 │ length 4 (of the block) │ index 1 │ data 1 │ parity 1 │ bytes
type Shard struct {
	Stream uint32 // the client numbers the streams of an endpoint, from 1
	Block  uint32 // from 0, in each stream and direction
	Length uint32 // of the block, 1 to MaxIsoBlock
	Index  uint8  // of this shard: parity follows data
	Data   uint8  // number of data shards
	Parity uint8  // number of parity shards
	Bytes  []byte
}

// ShardBytes returns the length of the shards of a block of length bytes in that many data shards.
func ShardBytes(length, data int) int { return (length + data - 1) / data }

// MinShards returns the smallest number of data shards for a block of length bytes.
func MinShards(length int) int { return (length + maxShardData - 1) / maxShardData }

// Encode returns the body of a KindShard frame, with a copy of Bytes.
func (s Shard) Encode() []byte {
	b := make([]byte, 0, shardSize+len(s.Bytes))
	b = binary.BigEndian.AppendUint32(b, s.Stream)
	b = binary.BigEndian.AppendUint32(b, s.Block)
	b = binary.BigEndian.AppendUint32(b, s.Length)
	b = append(b, s.Index, s.Data, s.Parity)
	return append(b, s.Bytes...)
}

// DecodeShard reads the body of a KindShard frame. Bytes is a part of body.
func DecodeShard(body []byte) (Shard, error) {
	if len(body) < shardSize {
		return Shard{}, malformed("Shard of %d bytes, want at least %d", len(body), shardSize)
	}
	s := Shard{
		Stream: binary.BigEndian.Uint32(body), Block: binary.BigEndian.Uint32(body[4:]),
		Length: binary.BigEndian.Uint32(body[8:]),
		Index:  body[12], Data: body[13], Parity: body[14], Bytes: body[shardSize:],
	}
	switch {
	case s.Stream == 0:
		return Shard{}, malformed("Shard of stream 0")
	case s.Length == 0 || s.Length > MaxIsoBlock:
		return Shard{}, malformed("Shard of a block of %d bytes, at most %d", s.Length, MaxIsoBlock)
	case s.Data == 0 || int(s.Data)+int(s.Parity) > MaxIsoShards || int(s.Index) >= int(s.Data)+int(s.Parity):
		return Shard{}, malformed("Shard %d of %d and %d", s.Index, s.Data, s.Parity)
	case len(s.Bytes) != ShardBytes(int(s.Length), int(s.Data)):
		return Shard{}, malformed("Shard of %d bytes, of a block of %d bytes in %d", len(s.Bytes), s.Length, s.Data)
	}
	return s, nil
}

// IsoBlock holds packets of an isochronous endpoint that follow each other. Encoded, big-endian:
//
//	first 8 │ packets 2 │ packets × { length 2 │ status 2 (negated) } │ data of all packets
type IsoBlock struct {
	First   uint64 // the number of the first packet in its stream, from 0
	Packets []IsoPacket
}

// IsoPacket is one packet of an isochronous endpoint.
type IsoPacket struct {
	Status int32 // 0 or a negated errno; 0 in an OUT
	Data   []byte
}

// EncodedSize returns the length in bytes of a block of that many packets with that many bytes of data.
func EncodedSize(packets, data int) int { return blockSize + packetSize*packets + data }

// Encode returns the encoded block.
func (b IsoBlock) Encode() []byte {
	size := 0
	for _, p := range b.Packets {
		size += len(p.Data)
	}
	e := make([]byte, 0, EncodedSize(len(b.Packets), size))
	e = binary.BigEndian.AppendUint64(e, b.First)
	e = binary.BigEndian.AppendUint16(e, uint16(len(b.Packets)))
	for _, p := range b.Packets {
		e = binary.BigEndian.AppendUint16(e, uint16(len(p.Data)))
		e = binary.BigEndian.AppendUint16(e, uint16(-p.Status))
	}
	for _, p := range b.Packets {
		e = append(e, p.Data...)
	}
	return e
}

// DecodeIsoBlock reads an encoded block. The data of the packets are parts of body.
func DecodeIsoBlock(body []byte) (IsoBlock, error) {
	if len(body) < blockSize {
		return IsoBlock{}, malformed("isochronous block of %d bytes, want at least %d", len(body), blockSize)
	}
	b := IsoBlock{First: binary.BigEndian.Uint64(body)}
	n := int(binary.BigEndian.Uint16(body[8:]))
	lengths := body[blockSize:]
	if n == 0 || n > MaxIsoPackets || len(lengths) < n*packetSize || b.First > maxIsoNumber {
		return IsoBlock{}, malformed("isochronous block of %d packets in %d bytes", n, len(body))
	}
	data := lengths[n*packetSize:]
	b.Packets = make([]IsoPacket, n)
	for i := range b.Packets {
		length := int(binary.BigEndian.Uint16(lengths[i*packetSize:]))
		status := int32(binary.BigEndian.Uint16(lengths[i*packetSize+2:]))
		if length > len(data) || status > maxErrno {
			return IsoBlock{}, malformed("isochronous packet of %d bytes with status %d", length, -status)
		}
		b.Packets[i] = IsoPacket{Status: -status, Data: data[:length:length]}
		data = data[length:]
	}
	if len(data) != 0 {
		return IsoBlock{}, malformed("isochronous block with %d bytes too many", len(data))
	}
	return b, nil
}

const (
	maxErrno     = 4095    // include/linux/err.h
	maxIsoNumber = 1 << 48 // packets of one stream, more than a device sends in a thousand years
)

// IsoReport is sent by the receiver of a stream several times a second, and by the client also for the streams that it
// sends. It begins a stream, keeps it alive, and ends it; see the package comment. Body, big-endian:
//
//	stream 4 │ flags 1 │ room 4 │ interval 4 │ elapsed 8 │ margin 4 │ loss 2
//	late 4 │ lost 4 │ recovered 4 │ errors 4
type IsoReport struct {
	Stream uint32
	Stop   bool // bit 0 of flags: the stream is over
	Refuse bool // bit 1, from the host: because the device refused it
	// From the client:
	Room     uint32 // bytes that the longest packet may have
	Interval uint32 // of packets, in microframes: 1 to MaxIsoInterval
	// From the host, about an OUT:
	Elapsed uint64 // packets that the device had time for since it began
	Margin  int32  // packets that were left in the jitter buffer, at least, since the last report
	// From the receiver of the data:
	Loss      uint16 // share of the shards that were lost, in 1/65536
	Late      uint32 // packets that came too late
	Lost      uint32 // packets that never came
	Recovered uint32 // packets that parity brought back
	Errors    uint32 // packets that the device did not take
}

// Encode returns the body of a KindIsoReport frame.
func (r IsoReport) Encode() []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, reportSize), r.Stream)
	flags := byte(0)
	if r.Stop {
		flags |= 1
	}
	if r.Refuse {
		flags |= 2
	}
	b = append(b, flags)
	b = binary.BigEndian.AppendUint32(b, r.Room)
	b = binary.BigEndian.AppendUint32(b, r.Interval)
	b = binary.BigEndian.AppendUint64(b, r.Elapsed)
	b = binary.BigEndian.AppendUint32(b, uint32(r.Margin))
	b = binary.BigEndian.AppendUint16(b, r.Loss)
	for _, n := range []uint32{r.Late, r.Lost, r.Recovered, r.Errors} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

// DecodeIsoReport reads the body of a KindIsoReport frame.
func DecodeIsoReport(body []byte) (IsoReport, error) {
	if len(body) != reportSize {
		return IsoReport{}, malformed("IsoReport of %d bytes, want %d", len(body), reportSize)
	}
	r := IsoReport{
		Stream: binary.BigEndian.Uint32(body), Stop: body[4]&1 != 0, Refuse: body[4]&2 != 0,
		Room: binary.BigEndian.Uint32(body[5:]), Interval: binary.BigEndian.Uint32(body[9:]),
		Elapsed: binary.BigEndian.Uint64(body[13:]), Margin: int32(binary.BigEndian.Uint32(body[21:])),
		Loss: binary.BigEndian.Uint16(body[25:]), Late: binary.BigEndian.Uint32(body[27:]),
		Lost: binary.BigEndian.Uint32(body[31:]), Recovered: binary.BigEndian.Uint32(body[35:]),
		Errors: binary.BigEndian.Uint32(body[39:]),
	}
	if r.Stream == 0 || r.Room > MaxIsoRoom || r.Interval > MaxIsoInterval || r.Elapsed > maxIsoNumber {
		return IsoReport{}, malformed("IsoReport of stream %d: packets of %d bytes every %d microframes, %d so far",
			r.Stream, r.Room, r.Interval, r.Elapsed)
	}
	return r, nil
}
