package isochronous

import (
	"fmt"
	"math"
	"slices"

	"github.com/klauspost/reedsolomon"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

const (
	maxBlockLoss = 1e-6  // probability with which a block may be lost although parity is sent
	firstLoss    = 0.01  // share of lost shards that is assumed at first
	lowestLoss   = 0.002 // and at least, however few are lost
	lossReserve  = 1.25  // losses are not independent
	maxParity    = 63    // shards of one block
	fewShards    = 4     // data shards of a small block: parity of one then costs less
	smallShard   = 128   // bytes; a smaller block has fewer shards
)

// newCode returns the code for a block. The numbers of shards are within the bounds of
// package tunnel.
func newCode(data, parity int) (reedsolomon.Encoder, error) {
	code, err := reedsolomon.New(data, parity, reedsolomon.WithCauchyMatrix(), reedsolomon.WithMaxGoroutines(1),
		reedsolomon.WithInversionCache(false))
	if err != nil {
		return nil, fmt.Errorf("Reed-Solomon code of %d and %d shards: %w", data, parity, err)
	}
	return code, nil
}

// dataShards returns the number of data shards for a block of that many bytes.
func dataShards(length int) int {
	return max(tunnel.MinShards(length), min(fewShards, length/smallShard), 1)
}

// parityShards returns the number of parity shards with which a block is lost with
// a probability of at most maxBlockLoss, if a share loss of the shards is lost at random.
func parityShards(data int, loss float64) int {
	loss = min(max(loss, lowestLoss)*lossReserve, 0.5)
	most := min(maxParity, tunnel.MaxIsoShards-data)
	for parity := 1; parity < most; parity++ {
		if moreLost(data+parity, parity, loss) < maxBlockLoss {
			return parity
		}
	}
	return most
}

// moreLost returns the probability that more than k of n shards are lost.
func moreLost(n, k int, loss float64) float64 {
	sum := 0.0
	term := math.Pow(1-loss, float64(n)) // that i of n are lost
	for i := range k + 1 {
		sum += term
		term *= float64(n-i) / float64(i+1) * loss / (1 - loss)
	}
	return 1 - sum
}

// encoder cuts blocks into shards.
type encoder struct {
	loss         float64
	code         reedsolomon.Encoder // for data and parity
	data, parity int
}

// cut returns the shards of a block, parity included.
func (e *encoder) cut(stream, number uint32, block []byte) ([]tunnel.Shard, error) {
	data := dataShards(len(block))
	parity := parityShards(data, e.loss)
	if e.code == nil || data != e.data || parity != e.parity {
		code, err := newCode(data, parity)
		if err != nil {
			return nil, err
		}
		e.code, e.data, e.parity = code, data, parity
	}
	size := tunnel.ShardBytes(len(block), data)
	memory := make([]byte, size*(data+parity))
	copy(memory, block)
	parts := make([][]byte, data+parity)
	for i := range parts {
		parts[i] = memory[i*size : (i+1)*size]
	}
	if err := e.code.Encode(parts); err != nil {
		return nil, fmt.Errorf("parity of an isochronous block: %w", err)
	}
	shards := make([]tunnel.Shard, len(parts))
	for i, b := range parts {
		shards[i] = tunnel.Shard{
			Stream: stream, Block: number, Length: uint32(len(block)),
			Index: uint8(i), Data: uint8(data), Parity: uint8(parity), Bytes: b,
		}
	}
	return shards, nil
}

const (
	window   = 32  // blocks that are kept, from the newest one backwards
	lossStep = 500 // shards after which the measured loss has moved most of the way
)

// decoder puts blocks together from shards and measures how many are lost.
type decoder struct {
	blocks    map[uint32]*partial // of the window
	newest    uint32              // the highest number of a block so far; meaningless while blocks is nil
	counted   uint32              // blocks before this one are counted in loss
	expect    int                 // shards of the block that was counted last
	loss      float64
	recovered int64 // packets whose shards never arrived
}

// partial is a block of which some shards have arrived.
type partial struct {
	head    tunnel.Shard // of the first one; Index and Bytes have no meaning
	shards  [][]byte     // by index; nil: not arrived
	have    int
	packets int  // of the block; 0: it was not returned
	done    bool // enough shards have arrived
}

// add adds a shard, whose bytes the decoder keeps. It returns a block once enough of its
// shards have arrived.
func (d *decoder) add(s tunnel.Shard) (b tunnel.IsoBlock, ok bool) {
	if !d.admit(s.Block) {
		return b, false
	}
	p := d.blocks[s.Block]
	if p == nil {
		p = &partial{head: s, shards: make([][]byte, int(s.Data)+int(s.Parity))}
		d.blocks[s.Block] = p
	}
	if h := p.head; h.Length != s.Length || h.Data != s.Data || h.Parity != s.Parity || p.shards[s.Index] != nil {
		return b, false
	}
	p.shards[s.Index] = s.Bytes
	p.have++
	if p.done || p.have < int(s.Data) {
		return b, false
	}
	p.done = true
	b, err := tunnel.DecodeIsoBlock(p.join())
	p.packets = len(b.Packets)
	return b, err == nil
}

// join returns the bytes of the block from the shards that have arrived, or nil.
func (p *partial) join() []byte {
	data := int(p.head.Data)
	parts := slices.Clone(p.shards)
	if p.missing() > 0 {
		code, err := newCode(data, int(p.head.Parity))
		if err != nil || code.ReconstructData(parts) != nil {
			return nil
		}
	}
	block := make([]byte, 0, data*len(parts[0]))
	for _, b := range parts[:data] {
		block = append(block, b...)
	}
	for i, b := range p.shards {
		if b != nil {
			p.shards[i] = []byte{} // arrived, and no longer needed
		}
	}
	return block[:p.head.Length]
}

// missing returns the number of data shards that have not arrived.
func (p *partial) missing() (n int) {
	for _, b := range p.shards[:p.head.Data] {
		if b == nil {
			n++
		}
	}
	return n
}

// admit moves the window so that it contains a block. It returns false for a block that
// is too old.
func (d *decoder) admit(number uint32) bool {
	if d.blocks == nil {
		d.blocks = make(map[uint32]*partial)
		d.newest, d.counted, d.loss = number, number, firstLoss
	}
	if number+window <= d.newest {
		return false
	}
	if number <= d.newest {
		return true
	}
	d.newest = number
	if number-d.counted > 4*window { // a jump: the link was down
		clear(d.blocks)
		d.counted = number
	}
	for ; d.counted+window <= number; d.counted++ {
		d.count(d.counted)
	}
	return true
}

// count counts the shards of a block that leaves the window.
func (d *decoder) count(number uint32) {
	have := 0
	if p := d.blocks[number]; p != nil {
		have, d.expect = p.have, len(p.shards)
		if missing := p.missing(); missing > 0 && p.packets > 0 {
			d.recovered += max(1, int64(p.packets*missing/int(p.head.Data)))
		}
		delete(d.blocks, number)
	}
	if d.expect > 0 {
		share := float64(d.expect-have) / float64(d.expect)
		weight := min(1, float64(d.expect)/lossStep)
		d.loss += (share - d.loss) * weight
	}
}
