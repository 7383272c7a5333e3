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

// ErrNotDisk says that a device has no mass-storage interface of the
// bulk-only kind.
var ErrNotDisk = errors.New("the device is no bulk-only mass storage")

// Disk runs SCSI commands, one at a time, on logical unit 0. Methods may be
// called concurrently.
type Disk struct {
	// Static after construction.
	device  usb.Device
	number  uint8 // interface
	in, out usb.Endpoint
	timeout time.Duration

	mu    sync.Mutex
	tag   uint32
	dirty bool // a command was given up: the device wants a reset first
}

// Config says what to read.
type Config struct {
	Device  usb.Device    // stays the caller's: nothing here closes it
	Timeout time.Duration // of one command; default 30 s, as Linux has it
}

// New finds the mass-storage interface. It transfers nothing.
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

// Inquiry is what a disk says of itself (SPC-4, 6.6.2).
type Inquiry struct {
	Type                      uint8 // 0: direct-access block device
	Removable                 bool
	Vendor, Product, Revision string
}

// Inquiry asks the disk what it is.
func (d *Disk) Inquiry(ctx context.Context) (Inquiry, error) {
	b := make([]byte, 36)
	n, err := d.Do(ctx, Command{Block: []byte{0x12, 0, 0, 0, byte(len(b)), 0}, In: b})
	switch {
	case err != nil:
		return Inquiry{}, fmt.Errorf("inquiry: %w", err)
	case n < len(b):
		return Inquiry{}, fmt.Errorf("inquiry: an answer of %d bytes only", n)
	}
	return Inquiry{
		Type: b[0] & 0x1f, Removable: b[1]&0x80 != 0,
		Vendor: text(b[8:16]), Product: text(b[16:32]), Revision: text(b[32:36]),
	}, nil
}

// text returns printable ASCII without the blanks behind.
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

// Capacity is a disk's size.
type Capacity struct {
	Blocks    uint64
	BlockSize uint32 // bytes
}

// Bytes is the size in bytes.
func (c Capacity) Bytes() int64 { return int64(c.Blocks) * int64(c.BlockSize) }

// maxBlockSize bounds what a disk may say of its blocks, in bytes.
const maxBlockSize = 64 << 10

// Capacity waits until the disk is ready and asks for its size.
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
		return Capacity{}, fmt.Errorf("capacity: an answer of %d bytes only", n)
	case last == 0xffffffff:
		return Capacity{}, errors.New("capacity: disks above 2 TiB cannot be read here")
	case c.BlockSize < 512 || c.BlockSize > maxBlockSize || c.BlockSize&(c.BlockSize-1) != 0:
		return Capacity{}, fmt.Errorf("capacity: blocks of %d bytes", c.BlockSize)
	}
	return c, nil
}

// ready repeats TEST UNIT READY while the disk reports that it was reset or
// has a new medium (unit attention), or is becoming ready.
func (d *Disk) ready(ctx context.Context) error {
	const tries = 10
	var err error
	for range tries {
		_, err = d.Do(ctx, Command{Block: make([]byte, 6)})
		var s *SenseError
		if !errors.As(err, &s) || s.Key != keyUnitAttention && !(s.Key == keyNotReady && s.Code == 0x04 && s.Qualifier == 0x01) {
			return err
		}
		if s.Key == keyUnitAttention {
			continue
		}
		t := time.NewTimer(200 * time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
	return err
}

// MaxRead is how many bytes one READ(10) fetches at most.
const MaxRead = 1 << 20

// Read opens the disk's blocks for reading while ctx lasts. What it returns
// reads with one command for at most MaxRead bytes; whoever reads all of a far
// disk should do so in pieces of that size.
func (d *Disk) Read(ctx context.Context) (*io.SectionReader, error) {
	c, err := d.Capacity(ctx)
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(&blocks{ctx: ctx, disk: d, capacity: c}, 0, c.Bytes()), nil
}

// blocks reads at any offset. It holds the context of [Disk.Read], as
// [io.ReaderAt] has no place for one.
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

func (d *Disk) readBlocks(ctx context.Context, first uint32, count uint16, room []byte) error {
	block := []byte{0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(block[2:], first)
	binary.BigEndian.PutUint16(block[7:], count)
	n, err := d.Do(ctx, Command{Block: block, In: room})
	if err == nil && n < len(room) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("reading block %d and %d behind it: %w", first, count-1, err)
	}
	return nil
}
