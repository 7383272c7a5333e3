package massstorage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// ErrNotDisk is returned for a device that has no mass-storage interface with
// Bulk-Only Transport.
var ErrNotDisk = errors.New("the device is not a bulk-only mass storage device")

// Disk runs SCSI commands on logical unit 0, one at a time. Methods may be
// called concurrently.
type Disk struct {
	// Constant after construction.
	device  usb.Device
	number  uint8 // bInterfaceNumber
	in, out usb.Endpoint
	timeout time.Duration

	mu         sync.Mutex // held while a command runs
	tag        uint32     // dCBWTag of the latest command
	needsReset bool       // the latest command did not end properly
}

// Config holds the parameters of New.
type Config struct {
	Device  usb.Device    // the caller must close it
	Timeout time.Duration // for one command; default 30 s, as in Linux
}

// New returns the disk of the device's mass-storage interface. It transfers
// nothing. Errors wrap ErrNotDisk or usb.ErrDescriptors.
func New(c Config) (*Disk, error) {
	info := c.Device.Info()
	d, err := usb.ParseDescriptors(info.Descriptors)
	if err != nil {
		return nil, err
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	active, _ := d.Configuration(info.Configuration)
	for _, s := range active.Settings {
		if s.Class != 0x08 || s.Protocol != 0x50 || s.Alternate != 0 {
			continue
		}
		disk := &Disk{device: c.Device, number: s.Number, timeout: c.Timeout}
		for _, e := range s.Endpoints {
			switch {
			case e.Type != usb.Bulk:
			case e.Address.In():
				disk.in = e.Address
			default:
				disk.out = e.Address
			}
		}
		if disk.in != 0 && disk.out != 0 {
			return disk, nil
		}
	}
	return nil, fmt.Errorf("%s (%s): %w", info.ID, info.Name(), ErrNotDisk)
}

// Inquiry holds the standard inquiry data of a disk (SPC-4, 6.6.2).
type Inquiry struct {
	Type                      uint8 // peripheral device type; 0: direct-access block device
	Removable                 bool
	Vendor, Product, Revision string // printable ASCII, without trailing spaces
}

// Inquiry runs the command INQUIRY.
func (d *Disk) Inquiry(ctx context.Context) (Inquiry, error) {
	b := make([]byte, 36)
	n, err := d.Do(ctx, Command{Block: []byte{0x12, 0, 0, 0, byte(len(b)), 0}, In: b})
	switch {
	case err != nil:
		return Inquiry{}, fmt.Errorf("inquiry: %w", err)
	case n < len(b):
		return Inquiry{}, fmt.Errorf("inquiry: the answer has only %d bytes", n)
	}
	return Inquiry{
		Type: b[0] & 0x1f, Removable: b[1]&0x80 != 0,
		Vendor: text(b[8:16]), Product: text(b[16:32]), Revision: text(b[32:36]),
	}, nil
}

// text returns b without trailing spaces and with '?' for every byte that is not
// printable ASCII.
func text(b []byte) string {
	var out []byte
	end := 0
	for _, c := range b {
		if c < ' ' || c > '~' {
			c = '?'
		}
		out = append(out, c)
		if c != ' ' {
			end = len(out)
		}
	}
	return string(out[:end])
}

// Capacity is the size of a disk.
type Capacity struct {
	Blocks    uint64
	BlockSize uint32 // bytes
}

// Bytes returns the size in bytes.
func (c Capacity) Bytes() int64 { return int64(c.Blocks) * int64(c.BlockSize) }

// maxBlockSize is the greatest block size that is accepted from a disk, in bytes.
const maxBlockSize = 64 << 10

// Capacity waits until the disk is ready and returns its size. It fails for disks
// above 2 TiB, which READ(10) cannot address.
func (d *Disk) Capacity(ctx context.Context) (Capacity, error) {
	if err := d.ready(ctx); err != nil {
		return Capacity{}, fmt.Errorf("capacity: %w", err)
	}
	b := make([]byte, 8)
	n, err := d.Do(ctx, Command{Block: []byte{0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0}, In: b})
	if err != nil {
		return Capacity{}, fmt.Errorf("capacity: %w", err)
	}
	last := binary.BigEndian.Uint32(b)
	c := Capacity{Blocks: uint64(last) + 1, BlockSize: binary.BigEndian.Uint32(b[4:])}
	switch {
	case n < len(b):
		return Capacity{}, fmt.Errorf("capacity: the answer has only %d bytes", n)
	case last == 0xffffffff:
		return Capacity{}, errors.New("capacity: disks above 2 TiB are not supported")
	case c.BlockSize < 512 || c.BlockSize > maxBlockSize || c.BlockSize&(c.BlockSize-1) != 0:
		return Capacity{}, fmt.Errorf("capacity: blocks of %d bytes", c.BlockSize)
	}
	return c, nil
}

// ready repeats TEST UNIT READY while the disk reports that it was reset or
// has a new medium (unit attention), or is becoming ready. A disk does not
// report by itself when it becomes ready, so ready asks every readyInterval.
func (d *Disk) ready(ctx context.Context) error {
	const (
		tries         = 10
		readyInterval = 200 * time.Millisecond
	)
	var err error
	for range tries {
		_, err = d.Do(ctx, Command{Block: make([]byte, 6)})
		var s *SenseError
		if !errors.As(err, &s) {
			return err
		}
		becomingReady := s.Key == keyNotReady && s.Code == 0x04 && s.Qualifier == 0x01
		switch {
		case s.Key == keyUnitAttention:
			continue
		case !becomingReady:
			return err
		}
		t := time.NewTimer(readyInterval)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
	return err
}

// MaxRead is the greatest number of bytes that one READ(10) fetches.
const MaxRead = 1 << 20

// Read returns a reader of the disk's blocks, which works until ctx ends. It
// sends one command for up to MaxRead bytes. Reads of MaxRead bytes are the most
// efficient.
func (d *Disk) Read(ctx context.Context) (*io.SectionReader, error) {
	c, err := d.Capacity(ctx)
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(&blocks{ctx: ctx, disk: d, capacity: c}, 0, c.Bytes()), nil
}

// blocks reads a disk at any offset. It holds the context of [Disk.Read] because
// [io.ReaderAt] has no parameter for it.
type blocks struct {
	ctx      context.Context
	disk     *Disk
	capacity Capacity
}

// ReadAt implements [io.ReaderAt].
func (r *blocks) ReadAt(b []byte, at int64) (int, error) {
	size := int64(r.capacity.BlockSize)
	done := 0
	for done < len(b) {
		first, skip := (at+int64(done))/size, (at+int64(done))%size
		if at < 0 || first >= int64(r.capacity.Blocks) {
			return done, io.EOF
		}
		want := min(skip+int64(len(b)-done), MaxRead)
		count := min((want+size-1)/size, int64(r.capacity.Blocks)-first, 0xffff)
		room := b[done:]
		whole := skip == 0 && int64(len(room)) >= count*size
		if !whole {
			room = make([]byte, count*size)
		}
		if err := r.disk.readBlocks(r.ctx, uint32(first), uint16(count), room[:count*size]); err != nil {
			return done, err
		}
		if whole {
			done += int(count * size)
		} else {
			done += copy(b[done:], room[skip:])
		}
	}
	return done, nil
}

// readBlocks reads count blocks from block first into room.
func (d *Disk) readBlocks(ctx context.Context, first uint32, count uint16, room []byte) error {
	block := []byte{0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(block[2:], first)
	binary.BigEndian.PutUint16(block[7:], count)
	n, err := d.Do(ctx, Command{Block: block, In: room})
	if err == nil && n < len(room) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("reading %d blocks from block %d: %w", count, first, err)
	}
	return nil
}
