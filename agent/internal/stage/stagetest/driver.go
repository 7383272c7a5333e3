package stagetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Result holds the outcome of a command as a driver sees it.
type Result struct {
	Data   []byte
	Failed bool
	Sense  [3]byte // key, code, qualifier, if the command failed
	Err    string  // not empty: the transport failed, and the driver has reset the device
}

// Equal reports whether two results are the same for a program.
func (r Result) Equal(o Result) bool {
	return bytes.Equal(r.Data, o.Data) && r.Failed == o.Failed && r.Sense == o.Sense && (r.Err == "") == (o.Err == "")
}

// String implements [fmt.Stringer].
func (r Result) String() string {
	return fmt.Sprintf("%d bytes, failed %t, sense %02x, %s", len(r.Data), r.Failed, r.Sense, r.Err)
}

// Driver is a driver of a USB disk, for all units and commands. It works as
// usb_stor_Bulk_transport does in Linux.
type Driver struct {
	Device  usb.Device
	Timeout time.Duration
	tag     uint32
}

// Do runs a command and fetches the sense data if it fails.
func (d *Driver) Do(unit uint8, block []byte, in int, out []byte) Result {
	r := d.transport(unit, block, in, out)
	if r.Err == "" && r.Failed {
		s := d.transport(unit, []byte{0x03, 0, 0, 0, 18, 0}, 18, nil)
		if s.Err != "" || s.Failed || len(s.Data) < 14 {
			return Result{Err: "sense: " + s.Err}
		}
		r.Sense = [3]byte{s.Data[2], s.Data[12], s.Data[13]}
	}
	return r
}

func (d *Driver) transport(unit uint8, block []byte, in int, out []byte) Result {
	ctx, cancel := context.WithTimeout(context.Background(), d.Timeout)
	defer cancel()
	r, err := d.exchange(ctx, unit, block, in, out)
	if err != "" {
		d.reset()
		return Result{Err: err}
	}
	return r
}

func (d *Driver) exchange(ctx context.Context, unit uint8, block []byte, in int, out []byte) (Result, string) {
	d.tag++
	w := make([]byte, 31)
	copy(w, "USBC")
	binary.LittleEndian.PutUint32(w[4:], d.tag)
	binary.LittleEndian.PutUint32(w[8:], uint32(in+len(out)))
	if in > 0 {
		w[12] = 0x80
	}
	w[13], w[14] = unit, byte(len(block))
	copy(w[15:], block)
	if s := usb.Do(ctx, d.Device, &usb.URB{Endpoint: DiskOut, Data: w}); s != usb.StatusOK {
		return Result{}, fmt.Sprintf("command: status %d", s)
	}
	var r Result
	data := &usb.URB{Endpoint: DiskIn, Flags: usb.ShortNotOK, Data: make([]byte, in)} // usb_sg_init
	if len(out) > 0 {
		data = &usb.URB{Endpoint: DiskOut, Data: out}
	}
	if in+len(out) > 0 {
		switch s := usb.Do(ctx, d.Device, data); s {
		case usb.StatusOK, usb.StatusShortRead:
		case usb.StatusStall:
			d.clearHalt(data.Endpoint)
		default:
			return Result{}, fmt.Sprintf("data: status %d", s)
		}
		if in > 0 {
			r.Data = data.Data[:data.Actual]
		}
	}
	csw := &usb.URB{Endpoint: DiskIn, Data: make([]byte, 13)}
	s := usb.Do(ctx, d.Device, csw)
	if s == usb.StatusStall {
		d.clearHalt(DiskIn)
		s = usb.Do(ctx, d.Device, csw)
	}
	b := csw.Data[:csw.Actual]
	switch {
	case s != usb.StatusOK:
		return Result{}, fmt.Sprintf("status: status %d", s)
	case len(b) != 13 || string(b[:4]) != "USBS" || binary.LittleEndian.Uint32(b[4:]) != d.tag || b[12] > 1 ||
		int(binary.LittleEndian.Uint32(b[8:])) > in+len(out):
		return Result{}, fmt.Sprintf("status wrapper % x", b)
	}
	r.Failed = b[12] == 1
	return r, ""
}

func (d *Driver) clearHalt(e usb.Endpoint) {
	setup := usb.Setup{Type: 0x02, Request: 1, Index: uint16(e)}
	usb.Do(context.Background(), d.Device, &usb.URB{Setup: setup.Bytes()})
}

func (d *Driver) reset() {
	usb.Do(context.Background(), d.Device, &usb.URB{Setup: usb.Setup{Type: 0x21, Request: 0xff}.Bytes()})
	d.clearHalt(DiskIn)
	d.clearHalt(DiskOut)
}

// Read returns the command block of a READ(16).
func Read(first, count uint64) []byte { return rw(0x88, first, count) }

// Write returns the command block of a WRITE(16).
func Write(first, count uint64) []byte { return rw(0x8a, first, count) }

func rw(op byte, first, count uint64) []byte {
	b := make([]byte, 16)
	b[0] = op
	binary.BigEndian.PutUint64(b[2:], first)
	binary.BigEndian.PutUint32(b[10:], uint32(count))
	return b
}

// Sync runs SYNCHRONIZE CACHE(10).
func (d *Driver) Sync(unit uint8) Result { return d.Do(unit, []byte{0x35, 9: 0}, 0, nil) }

// Modes runs MODE SENSE(6) for all pages, as Linux does for a USB disk
// (drivers/scsi/sd.c, sd_read_cache_type).
func (d *Driver) Modes(unit uint8) Result {
	return d.Do(unit, []byte{0x1a, 0, 0x3f, 0, 192, 0}, 192, nil)
}

// Inquiry runs INQUIRY.
func (d *Driver) Inquiry(unit uint8) Result { return d.Do(unit, []byte{0x12, 0, 0, 0, 36, 0}, 36, nil) }

// Capacity runs READ CAPACITY(16), as every driver does first.
func (d *Driver) Capacity(unit uint8) Result {
	return d.Do(unit, []byte{0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0}, 32, nil)
}
