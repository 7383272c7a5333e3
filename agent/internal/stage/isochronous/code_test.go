package isochronous

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// TestBlockSurvivesLossOfAsManyShardsAsParity loses shards, repeats some and changes
// their order.
func TestBlockSurvivesLossOfAsManyShardsAsParity(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, length := range []int{1, 3, 100, 511, 1536, 24_000, 65_000, tunnel.MaxIsoBlock - 300} {
		data := make([]byte, length)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		var want tunnel.IsoBlock
		for part := range slices.Chunk(data, 3000) {
			want.Packets = append(want.Packets, tunnel.IsoPacket{Data: part})
		}
		e, d := encoder{loss: 0.02}, decoder{}
		for number := range uint32(3) {
			shards, err := e.cut(7, number, want.Encode())
			if err != nil {
				t.Fatal(err)
			}
			parity := int(shards[0].Parity)
			random.Shuffle(len(shards), func(i, j int) { shards[i], shards[j] = shards[j], shards[i] })
			blocks := 0
			for _, s := range append(shards[parity:], shards[len(shards)-1]) {
				s, err := tunnel.DecodeShard(s.Encode())
				if err != nil {
					t.Fatal(err)
				}
				got, ok := d.add(s)
				if !ok {
					continue
				}
				blocks++
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%d bytes: another block, of %d packets", length, len(got.Packets))
				}
			}
			if blocks != 1 {
				t.Errorf("%d bytes, block %d: returned %d times", length, number, blocks)
			}
		}
	}
}

func TestParityGrowsWithLoss(t *testing.T) {
	for _, c := range []struct {
		data     int
		loss     float64
		min, max int
	}{{1, 0.01, 2, 4}, {4, 0, 1, 3}, {4, 0.01, 2, 4}, {22, 0.01, 4, 6}, {22, 0.1, 13, 25}, {192, 1, 63, 63}} {
		if got := parityShards(c.data, c.loss); got < c.min || got > c.max {
			t.Errorf("%d data shards with a loss of %v: %d parity shards", c.data, c.loss, got)
		}
	}
}

func TestLossIsMeasured(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, loss := range []float64{0, 0.01, 0.1} {
		e, d := encoder{loss: loss}, decoder{}
		for number := range uint32(2000) {
			shards, err := e.cut(1, number, make([]byte, 3000))
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range shards {
				if random.Float64() >= loss {
					d.add(s)
				}
			}
		}
		if d.loss < loss*0.6 || d.loss > loss*1.4+0.0001 {
			t.Errorf("measured a loss of %v, want %v", d.loss, loss)
		}
	}
}

// FuzzDecoder adds shards that do not fit each other.
func FuzzDecoder(f *testing.F) {
	shards, err := (&encoder{}).cut(1, 5, make([]byte, 1000))
	if err != nil {
		f.Fatal(err)
	}
	var all []byte
	for _, s := range shards {
		b := s.Encode()
		all = append(append(all, byte(len(b)>>8), byte(len(b))), b...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, input []byte) {
		var d decoder
		for len(input) >= 2 {
			n := min(int(input[0])<<8|int(input[1]), len(input)-2)
			if s, err := tunnel.DecodeShard(input[2 : 2+n]); err == nil {
				d.add(s)
			}
			input = input[2+n:]
		}
		if len(d.blocks) > window {
			t.Errorf("%d blocks are kept", len(d.blocks))
		}
	})
}
