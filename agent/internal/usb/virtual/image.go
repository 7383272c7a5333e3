package virtual

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"sync"
	"unicode/utf16"
)

// Image holds the blocks of a disk in memory. It implements [Store]. Its methods
// may be called concurrently, also while a Disk uses it.
type Image struct {
	mu sync.RWMutex
	b  []byte
}

// Table is the kind of a partition table.
type Table uint8

// The kinds of partition table.
const (
	TableMBR  Table = iota
	TableGPT        // UEFI 2.10, section 5.3, with both copies
	TableNone       // no table: all blocks are pseudo-random
)

// SampleConfig describes an image of pseudo-random bytes. Equal configurations
// give equal images.
type SampleConfig struct {
	Size  int64 // bytes; a multiple of 1 MiB from 4 MiB to 4 GiB; default 64 MiB
	Seed  uint64
	Table Table // lists two partitions: from 1 MiB to the middle, and the rest
}

const mebibyte = 1 << 20

// NewSample returns an image for demonstrations and tests.
func NewSample(c SampleConfig) (*Image, error) {
	if c.Size == 0 {
		c.Size = 64 * mebibyte
	}
	if c.Size < 4*mebibyte || c.Size%mebibyte != 0 || c.Size > 1<<32 {
		return nil, fmt.Errorf("sample disk: the size of %d bytes is not a multiple of 1 MiB between 4 MiB and 4 GiB",
			c.Size)
	}
	i := &Image{b: make([]byte, c.Size)}
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], c.Seed)
	if _, err := rand.NewChaCha8(seed).Read(i.b); err != nil {
		return nil, fmt.Errorf("sample disk: %w", err)
	}
	blocks := uint64(c.Size / BlockSize)
	parts := [2]partition{
		{first: mebibyte / BlockSize, last: blocks/2 - 1, kind: 0x0c, name: "EasyFind 1"},
		{first: blocks / 2, last: blocks - mebibyte/BlockSize - 1, kind: 0x83, name: "EasyFind 2"},
	}
	switch c.Table {
	case TableMBR:
		i.putMBR(parts[:])
	case TableGPT:
		i.putGPT(parts[:])
	}
	return i, nil
}

// Size returns the length in bytes.
func (i *Image) Size() int64 { return int64(len(i.b)) }

// ReadAt implements [io.ReaderAt].
func (i *Image) ReadAt(b []byte, at int64) (int, error) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	if at < 0 || at > int64(len(i.b)) {
		return 0, io.EOF
	}
	n := copy(b, i.b[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements [io.WriterAt]. The image does not grow.
func (i *Image) WriteAt(b []byte, at int64) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if at < 0 || at > int64(len(i.b)) {
		return 0, io.ErrShortWrite
	}
	n := copy(i.b[at:], b)
	if n < len(b) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// partition describes a range of blocks; first and last are part of it.
type partition struct {
	first, last uint64
	kind        byte // partition type in an MBR
	name        string
}

// putMBR writes a master boot record without boot code. The fields for cylinders
// and heads hold the values that mean "too large".
func (i *Image) putMBR(parts []partition) {
	b := i.b[:BlockSize]
	clear(b)
	binary.LittleEndian.PutUint32(b[440:], 0x45415359)
	for n, p := range parts {
		e := b[446+16*n:]
		copy(e, []byte{0, 0xfe, 0xff, 0xff, p.kind, 0xfe, 0xff, 0xff})
		binary.LittleEndian.PutUint32(e[8:], uint32(p.first))
		binary.LittleEndian.PutUint32(e[12:], uint32(p.last-p.first+1))
	}
	b[510], b[511] = 0x55, 0xaa
}

const (
	gptEntries     = 128
	gptEntryLength = 128
	gptBlocks      = gptEntries * gptEntryLength / BlockSize
)

// microsoftBasicData is the partition type EBD0A0A2-B9E5-4433-87C0-68B6B72699C7
// in the byte order on the disk.
var microsoftBasicData = [16]byte{
	0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7,
}

// putGPT writes the protective MBR and both copies of the table.
func (i *Image) putGPT(parts []partition) {
	last := uint64(len(i.b)/BlockSize) - 1
	i.putMBR([]partition{{first: 1, last: last, kind: 0xee}})
	entries := make([]byte, gptEntries*gptEntryLength)
	for n, p := range parts {
		e := entries[gptEntryLength*n:]
		copy(e, microsoftBasicData[:])
		copy(e[16:], []byte("EasyFind part  \x00"))
		e[31] = byte(n + 1)
		binary.LittleEndian.PutUint64(e[32:], p.first)
		binary.LittleEndian.PutUint64(e[40:], p.last)
		for k, u := range utf16.Encode([]rune(p.name)) {
			binary.LittleEndian.PutUint16(e[56+2*k:], u)
		}
	}
	i.putGPTCopy(1, last, 2, entries)
	i.putGPTCopy(last, 1, last-gptBlocks, entries)
}

// putGPTCopy writes one copy of the table: its header at block at, and its
// entries from block entriesAt. other is the block of the other copy's header.
func (i *Image) putGPTCopy(at, other, entriesAt uint64, entries []byte) {
	copy(i.b[entriesAt*BlockSize:], entries)
	h := i.b[at*BlockSize:][:BlockSize]
	clear(h)
	copy(h, "EFI PART\x00\x00\x01\x00")
	binary.LittleEndian.PutUint32(h[12:], 92)
	binary.LittleEndian.PutUint64(h[24:], at)
	binary.LittleEndian.PutUint64(h[32:], other)
	binary.LittleEndian.PutUint64(h[40:], 2+gptBlocks)
	binary.LittleEndian.PutUint64(h[48:], uint64(len(i.b)/BlockSize)-2-gptBlocks)
	copy(h[56:], "EasyFind a disk.")
	binary.LittleEndian.PutUint64(h[72:], entriesAt)
	binary.LittleEndian.PutUint32(h[80:], gptEntries)
	binary.LittleEndian.PutUint32(h[84:], gptEntryLength)
	binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
}
