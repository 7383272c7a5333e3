package massstorage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

// Table is the partition table of a disk.
type Table struct {
	Kind       string // "MBR" or "GPT"
	Partitions []Partition
}

// Partition is one entry of a partition table.
type Partition struct {
	Number int    // position in the table, from 1, as in the kernel's device names
	First  uint64 // number of the first block
	Blocks uint64
	Type   string // MBR: two hexadecimal digits, "0c"; GPT: a GUID
	Name   string // GPT only
}

// ErrNoTable is returned if the first blocks hold no valid partition table.
var ErrNoTable = errors.New("the disk has no partition table")

// Bounds of a GPT that is accepted (UEFI 2.10, 5.3.2).
const (
	maxGPTEntries     = 128
	minGPTEntryLength = 128
	maxGPTEntryLength = 4096
)

// ReadTable reads the partition table of a disk: the GPT if there is one, else
// the four primary partitions of the MBR. blockSize is in bytes. Errors wrap
// ErrNoTable or the error of r.
func ReadTable(r io.ReaderAt, blockSize uint32) (Table, error) {
	if blockSize < 512 || blockSize > maxBlockSize {
		return Table{}, fmt.Errorf("partition table: blocks of %d bytes", blockSize)
	}
	b := make([]byte, 2*blockSize)
	if _, err := r.ReadAt(b, 0); err != nil {
		return Table{}, fmt.Errorf("partition table: %w", err)
	}
	if b[510] != 0x55 || b[511] != 0xaa {
		return Table{}, ErrNoTable
	}
	t := Table{Kind: "MBR"}
	for n := range 4 {
		e := b[446+16*n:]
		if e[4] == 0xee {
			return readGPT(r, b[blockSize:], blockSize)
		}
		if e[4] == 0 {
			continue
		}
		t.Partitions = append(t.Partitions, Partition{
			Number: n + 1, Type: fmt.Sprintf("%02x", e[4]),
			First:  uint64(binary.LittleEndian.Uint32(e[8:])),
			Blocks: uint64(binary.LittleEndian.Uint32(e[12:])),
		})
	}
	return t, nil
}

func readGPT(r io.ReaderAt, header []byte, blockSize uint32) (Table, error) {
	length := binary.LittleEndian.Uint32(header[12:])
	if string(header[:8]) != "EFI PART" || length < 92 || length > blockSize {
		return Table{}, fmt.Errorf("%w: the MBR announces a GPT, but there is none", ErrNoTable)
	}
	sum := binary.LittleEndian.Uint32(header[16:])
	clear(header[16:20])
	if crc32.ChecksumIEEE(header[:length]) != sum {
		return Table{}, fmt.Errorf("%w: the checksum of its GPT is wrong", ErrNoTable)
	}
	at := binary.LittleEndian.Uint64(header[72:])
	count, size := binary.LittleEndian.Uint32(header[80:]), binary.LittleEndian.Uint32(header[84:])
	if count > maxGPTEntries || size < minGPTEntryLength || size > maxGPTEntryLength || at > 1<<40 {
		return Table{}, fmt.Errorf("%w: a GPT of %d entries of %d bytes is not readable", ErrNoTable, count, size)
	}
	entries := make([]byte, count*size)
	if _, err := r.ReadAt(entries, int64(at)*int64(blockSize)); err != nil {
		return Table{}, fmt.Errorf("partition table: %w", err)
	}
	if crc32.ChecksumIEEE(entries) != binary.LittleEndian.Uint32(header[88:]) {
		return Table{}, fmt.Errorf("%w: the checksum of its GPT entries is wrong", ErrNoTable)
	}
	t := Table{Kind: "GPT"}
	for n := range int(count) {
		e := entries[n*int(size):]
		first, last := binary.LittleEndian.Uint64(e[32:]), binary.LittleEndian.Uint64(e[40:])
		if [16]byte(e) == [16]byte{} || last < first {
			continue
		}
		t.Partitions = append(t.Partitions, Partition{
			Number: n + 1, First: first, Blocks: last - first + 1, Type: guid(e), Name: name(e[56:128]),
		})
	}
	return t, nil
}

// guid formats the 16 bytes of a GUID. The first three groups are little-endian
// (UEFI 2.10, appendix A).
func guid(b []byte) string {
	return fmt.Sprintf("%08X-%04X-%04X-%X-%X", binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]),
		binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:16])
}

// name decodes UTF-16 up to a NUL. It replaces control characters by '?'.
func name(b []byte) string {
	var units []uint16
	for ; len(b) > 0; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0 {
			break
		}
		if u < ' ' || u == 0x7f {
			u = '?'
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}
