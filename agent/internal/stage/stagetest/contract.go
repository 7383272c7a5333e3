package stagetest

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// Contract runs a long random sequence of commands on two equal disks, one of them
// behind the stage that wrap returns. It fails if the driver sees any difference. It
// runs in virtual time.
func Contract(t *testing.T, seed uint64, commands int, wrap Wrap) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { contract(t, seed, commands, wrap) })
}

func contract(t *testing.T, seed uint64, commands int, wrap Wrap) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 2))
	cfg := randomDisk(random)
	disks := [2]*Disk{NewDisk(cfg), NewDisk(cfg)}
	staged, path := wrap(t, disks[1], PathConfig{
		Delay: 20 * time.Millisecond, Jitter: time.Duration(random.IntN(2)) * 5 * time.Millisecond, Seed: seed,
	})
	defer func() { _ = staged.Close() }()
	drivers := [2]*Driver{{Device: disks[0], Timeout: timeout}, {Device: staged, Timeout: timeout}}
	next := make([]uint64, 4)
	for n := range commands {
		c := randomCommand(random, cfg, next)
		if c.change {
			time.Sleep(time.Second) // a stage may answer with what the unit has said within the last second
			disks[0].ChangeMedium(c.unit)
			disks[1].ChangeMedium(c.unit)
		}
		plain := drivers[0].Do(c.unit, c.block, c.in, c.out)
		got := drivers[1].Do(c.unit, c.block, c.in, c.out)
		if !got.Equal(plain) {
			t.Fatalf("seed %d, command %d, unit %d, % x: %v, without the stage %v",
				seed, n, c.unit, c.block, got, plain)
		}
		if random.IntN(100) == 0 {
			path.SetDown(true)
			time.AfterFunc(time.Duration(random.IntN(5000))*time.Millisecond, func() { path.SetDown(false) })
		}
		if random.IntN(20) == 0 {
			time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
		}
	}
	if early := disks[1].Early(); early > 0 {
		t.Errorf("seed %d: %d commands came before the status of the previous one was fetched", seed, early)
	}
}

// randomDisk returns a disk with places that it cannot read or write.
func randomDisk(random *rand.Rand) DiskConfig {
	cfg := DiskConfig{
		Units: 1 + random.IntN(2)*15, BlockSize: []uint32{512, 2048, 4096}[random.IntN(3)],
		Blocks: []uint64{3000, 1 << 16, 8 << 40 / 512}[random.IntN(3)], MaxPacket: []int{512, 1024}[random.IntN(2)],
		ReadOnly: random.IntN(8) == 0,
	}
	fault := Fault(random.IntN(int(Faults)))
	if random.IntN(2) == 0 {
		fault = []Fault{NoFault, FailStall, FailEmpty, FailMiddle}[random.IntN(4)]
	}
	bad := 200 + random.Uint64N(1500)
	cfg.Fault = func(_ byte, _ uint8, first, count uint64) Fault {
		if first <= bad && bad < first+count {
			return fault
		}
		return NoFault
	}
	return cfg
}

type command struct {
	unit   uint8
	block  []byte
	in     int
	out    []byte
	change bool
}

// randomCommand returns a command. next holds the places of sequences of reads.
func randomCommand(random *rand.Rand, cfg DiskConfig, next []uint64) command {
	c := command{}
	if random.IntN(4) == 0 {
		c.unit = uint8(random.IntN(cfg.Units))
	}
	count := []uint64{1, 8, 8, 32, 64, 256}[random.IntN(6)]
	size := uint64(cfg.BlockSize)
	near := 2500 + random.Uint64N(600)
	if random.IntN(2) == 0 {
		near = random.Uint64N(2500)
	}
	switch k := random.IntN(40); {
	case k < 22: // a sequence of reads
		s := random.IntN(len(next))
		if random.IntN(12) == 0 || next[s]+count > cfg.Blocks {
			next[s] = random.Uint64N(2500)
		}
		c.block, c.in = Read(next[s], count), int(count*size)
		next[s] += count
	case k < 25:
		c.block, c.in = Read(near, count), int(count*size)
	case k < 26: // where a search for signatures begins
		c.block, c.in = Read(cfg.Blocks-(64<<10)/size, (4<<10)/size), 4<<10
	case k < 34:
		c.out = make([]byte, count*size)
		for i := range c.out {
			c.out[i] = byte(random.Uint32())
		}
		c.block = Write(near, count)
	default:
		c.other(random)
	}
	return c
}

// other makes c a command that neither reads nor writes blocks.
func (c *command) other(random *rand.Rand) {
	switch random.IntN(8) {
	case 0:
		c.block = make([]byte, 6) // TEST UNIT READY
	case 1:
		c.block, c.in = []byte{0x12, 0, 0, 0, 36, 0}, 36
	case 2:
		c.block, c.in = []byte{0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 8
	case 3:
		c.block, c.in = []byte{0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0}, 32
	case 4:
		c.block = []byte{0x1b, 0, 0, 0, 1, 0} // START STOP
	case 5:
		c.block, c.in = []byte{0xf0, 1, 2, 3, 4, 5}, 64 // vendor command
	case 6:
		c.block, c.in = []byte{0x03, 0, 0, 0, 18, 0}, 18 // REQUEST SENSE
	case 7:
		c.block, c.change = make([]byte, 6), true
	}
}
