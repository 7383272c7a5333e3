package stagetest

import (
	"encoding/binary"
	"maps"
)

// medium holds the blocks of a disk.
type medium struct {
	cfg     DiskConfig
	written map[place][]byte
	stable  map[place][]byte // written at the last SYNCHRONIZE CACHE
	syncs   int
	version map[uint8]uint64 // rises when the medium is replaced
}

func newMedium(cfg DiskConfig) medium {
	return medium{
		cfg: cfg, written: map[place][]byte{}, stable: map[place][]byte{}, version: map[uint8]uint64{},
	}
}

func (m *medium) block(unit uint8, block uint64) []byte {
	if b := m.written[place{unit, block}]; b != nil {
		return b
	}
	return m.original(unit, block)
}

// original returns the content of a block that was never written.
func (m *medium) original(unit uint8, block uint64) []byte {
	b := make([]byte, m.cfg.BlockSize)
	for i := 0; i < len(b); i += 16 {
		binary.LittleEndian.PutUint64(b[i:], block*31+uint64(i))
		binary.LittleEndian.PutUint64(b[i+8:], uint64(unit)<<32|m.version[unit])
	}
	return b
}

// sync makes what was written stable.
func (m *medium) sync() {
	m.syncs++
	m.stable = maps.Clone(m.written)
}

// cutPower loses what is not stable.
func (m *medium) cutPower() {
	if !m.cfg.NoSync {
		m.written = maps.Clone(m.stable)
	}
}

// stableBlock returns the data that a block has after a power cut.
func (m *medium) stableBlock(unit uint8, block uint64) []byte {
	b := m.stable[place{unit, block}]
	switch {
	case m.cfg.NoSync:
		return m.block(unit, block)
	case b == nil:
		return m.original(unit, block)
	}
	return b
}

// modes returns the answer to a MODE SENSE. It ignores the page code and returns all pages.
func (m *medium) modes(block []byte) []byte {
	specific := byte(0)
	if m.cfg.ReadOnly {
		specific = 0x80
	}
	if m.cfg.DPOFUA {
		specific |= 0x10
	}
	header, limit := []byte{byte(3 + len(m.cfg.Modes)), 0, specific, 0}, int(block[4])
	if block[0] == 0x5a {
		header = []byte{0, byte(6 + len(m.cfg.Modes)), 0, specific, 0, 0, 0, 0}
		limit = int(binary.BigEndian.Uint16(block[7:]))
	}
	out := append(header, m.cfg.Modes...)
	return out[:min(len(out), limit)]
}

// Syncs returns the number of SYNCHRONIZE CACHE commands.
func Syncs(d *Disk) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.syncs
}

// CutPower loses what was written after the last SYNCHRONIZE CACHE, and unplugs the disk. A
// disk without SYNCHRONIZE CACHE has no volatile cache and loses nothing.
func CutPower(d *Disk) {
	d.mu.Lock()
	d.cutPower()
	d.mu.Unlock()
	d.Unplug()
}
