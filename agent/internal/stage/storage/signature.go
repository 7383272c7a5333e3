package storage

import (
	"encoding/binary"
	"slices"
	"time"
)

// pageBytes is the length of the reads of a program that looks for signatures through
// the page cache.
const pageBytes = 4 << 10

// Places where file systems, partition tables and RAID systems have their signatures. A
// program that names a new disk reads most of them, one by one: udev runs blkid for the
// disk and for each partition (util-linux, libblkid/src/superblocks). Without the stage
// that takes about 40 round trips for each.
var (
	// signatureStarts are in bytes from the start of a volume.
	signatureStarts = []uint64{
		0, 4 << 10, 8 << 10, 12 << 10, 16 << 10, 28 << 10, 32 << 10, 60 << 10, 64 << 10, 128 << 10, 256 << 10,
		512 << 10, 1 << 20, 2 << 20, 4 << 20,
	}
	// signatureEnds are in units of 512 bytes from the end of a volume. The first one
	// is the first place that blkid reads.
	signatureEnds = []uint64{128, 16, 8, 264}
	// raidEnds are places of RAID systems at the end of a disk (promise_raid.c).
	raidEnds = []uint64{63, 255, 256, 399, 591, 675, 735, 911, 951, 974, 991, 3087}
)

const (
	maxVolumes = 16
	// lastBlocks is the number of blocks at the end of a disk that Linux reads one by
	// one, because some disks fail otherwise (drivers/scsi/sd.h, SD_LAST_BUGGY_SECTORS).
	lastBlocks = 8
)

// page returns the page of a volume that holds the byte at an offset.
func (u *unit) page(volume extent, offset uint64) extent {
	size := uint64(u.blockSize)
	return extent{volume.first + offset&^(pageBytes-1)/size, pageBytes / size}
}

// fromEnd returns the page of a volume that begins n units of 512 bytes before its end.
func (u *unit) fromEnd(volume extent, n uint64) (extent, bool) {
	bytes := volume.count * uint64(u.blockSize)
	if bytes < n*512 {
		return extent{}, false
	}
	return u.page(volume, bytes-n*512), true
}

// signatures returns the pages to read ahead after a read of the driver, in the order in
// which they are likely to be read.
func (u *unit) signatures(read extent) []extent {
	disk := extent{0, u.blocks}
	var list []extent
	for i, volume := range append([]extent{disk}, u.volumes...) {
		if first, ok := u.fromEnd(volume, signatureEnds[0]); !ok || first != read {
			continue // a partition may end with the disk, so that both are meant
		}
		ends := signatureEnds
		if i == 0 {
			ends = slices.Concat(ends, raidEnds)
		}
		list = append(list, u.page(disk, 0))
		for _, n := range ends {
			if e, ok := u.fromEnd(volume, n); ok {
				list = append(list, e)
			}
		}
		for _, offset := range signatureStarts {
			if e := u.page(volume, offset); e.end() <= volume.end() {
				list = append(list, e)
			}
		}
	}
	return list
}

// readSignatures reads ahead what a driver reads next that looks for signatures. mu
// must be held.
func (f *exchanges) readSignatures(w *wrapper, u *unit, read extent) {
	now := time.Now()
	if read == (extent{u.blocks - lastBlocks, 1}) { // the driver reads the last blocks one by one
		for at := read.end(); at < u.blocks; at++ {
			f.readPlace(w, u, extent{at, 1}, now)
		}
		return
	}
	for _, e := range u.signatures(read) {
		if e.end() <= u.blocks-endDistance {
			f.readPlace(w, u, e, now)
		}
	}
}

// readPlace reads e ahead unless the path is full: a search reads up to 140 KiB. mu must
// be held.
func (f *exchanges) readPlace(w *wrapper, u *unit, e extent, now time.Time) {
	a, n := &f.stage.ahead, int(e.count)*int(u.blockSize)
	isFull := a.underWay+n > max(a.meter.window(now), 2*firstAhead) || a.commands >= maxCommands
	if !isFull && !a.isTaken(u, e) && a.makeRoom(n, now) {
		f.readAhead(w, []*segment{a.add(u, e)})
	}
}

// volumes returns the partitions that the first blocks of a disk of 512-byte blocks
// name: a GUID partition table (UEFI 2.10, 5.3) or a master boot record. They are only
// hints where to read ahead.
func volumes(b []byte, blocks uint64) []extent {
	var list []extent
	add := func(first, end uint64) {
		if first > 0 && first < end && end <= blocks && len(list) < maxVolumes {
			list = append(list, extent{first, end - first})
		}
	}
	const recordEnd, tableStart, entrySize, partEntrySize = 512, 1024, 128, 16
	if len(b) < tableStart || b[510] != 0x55 || b[511] != 0xaa {
		return nil
	}
	if string(b[recordEnd:][:8]) == "EFI PART" {
		for e := b[tableStart:]; len(e) >= entrySize; e = e[entrySize:] {
			if [16]byte(e) != [16]byte{} {
				add(binary.LittleEndian.Uint64(e[32:]), binary.LittleEndian.Uint64(e[40:])+1)
			}
		}
		return list
	}
	for e := b[446:510]; len(e) >= partEntrySize; e = e[partEntrySize:] {
		if e[4] != 0 {
			first := uint64(binary.LittleEndian.Uint32(e[8:]))
			add(first, first+uint64(binary.LittleEndian.Uint32(e[12:])))
		}
	}
	return list
}

// bootFetch is the errand that fetches the first page of a disk.
type bootFetch struct{ readingAhead }

func (b bootFetch) done(x *exchange, v verdict) {
	b.readingAhead.done(x, v)
	if u := b.segment.unit; v == good && u.blockSize == 512 {
		u.volumes = volumes(x.data.Data[:x.data.Actual], u.blocks)
	}
}
