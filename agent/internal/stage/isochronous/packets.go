package isochronous

import (
	"time"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

const (
	blockTime   = 8 * time.Millisecond // of the packets in one block
	maxBlock    = 256                  // packets of one block
	maxKept     = 1 << 14              // packets in a jitter buffer
	maxKeptSize = 16 << 20             // bytes of them
)

// cast sends lossy frames to the peer. If there is no room for all of them, it drops all.
type cast func(endpoint uint8, kind tunnel.Kind, bodies ...[]byte)

// sender sends the packets of a stream in blocks.
type sender struct {
	cast     cast
	endpoint uint8
	stream   uint32
	perBlock int // packets
	encoder  encoder

	block   uint32
	next    uint64 // number of the next packet
	packets []tunnel.IsoPacket
	bytes   int
}

func newSender(c cast, endpoint uint8, stream uint32, interval time.Duration) *sender {
	return &sender{
		cast: c, endpoint: endpoint, stream: stream, encoder: encoder{loss: firstLoss},
		perBlock: int(min(max(blockTime/interval, 1), maxBlock)),
	}
}

// add sends a packet, or keeps a copy of it for the current block.
func (s *sender) add(status int32, data []byte) {
	if tunnel.EncodedSize(len(s.packets)+1, s.bytes+len(data)) > tunnel.MaxIsoBlock {
		s.flush()
	}
	s.packets = append(s.packets, tunnel.IsoPacket{Status: status, Data: append([]byte(nil), data...)})
	s.bytes += len(data)
	s.next++
	if len(s.packets) >= s.perBlock {
		s.flush()
	}
}

// skip leaves out all packets before a number.
func (s *sender) skip(to uint64) {
	if to > s.next {
		s.flush()
		s.next = to
	}
}

// flush sends the current block.
func (s *sender) flush() {
	if len(s.packets) == 0 {
		return
	}
	b := tunnel.IsoBlock{First: s.next - uint64(len(s.packets)), Packets: s.packets}
	shards, err := s.encoder.cut(s.stream, s.block, b.Encode())
	s.block++
	s.packets, s.bytes = s.packets[:0], 0
	if err != nil {
		return // never: all numbers are within the bounds of the code
	}
	bodies := make([][]byte, len(shards))
	for i, shard := range shards {
		bodies[i] = shard.Encode()
	}
	s.cast(s.endpoint, tunnel.KindShard, bodies...)
}

// buffer is a jitter buffer: packets by their slots.
type buffer struct {
	packets map[uint64]tunnel.IsoPacket
	bytes   int
	end     uint64 // one more than the highest slot so far
}

// put adds a packet, unless it is there, or too far from the slot that is taken next.
func (b *buffer) put(slot, next uint64, p tunnel.IsoPacket) {
	_, double := b.packets[slot]
	if double || slot >= next+maxKept || b.bytes+len(p.Data) > maxKeptSize {
		return
	}
	if b.packets == nil {
		b.packets = make(map[uint64]tunnel.IsoPacket)
	}
	b.packets[slot] = p
	b.bytes += len(p.Data)
	b.end = max(b.end, slot+1)
}

// take removes and returns a packet.
func (b *buffer) take(slot uint64) (tunnel.IsoPacket, bool) {
	p, ok := b.packets[slot]
	if ok {
		delete(b.packets, slot)
		b.bytes -= len(p.Data)
	}
	return p, ok
}

// drop removes the packets before a slot and returns the number of their bytes.
func (b *buffer) drop(before uint64) (bytes int64) {
	for slot, p := range b.packets {
		if slot < before {
			b.take(slot)
			bytes += int64(len(p.Data))
		}
	}
	return bytes
}
