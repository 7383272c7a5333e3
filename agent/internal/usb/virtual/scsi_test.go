package virtual

import (
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// FuzzCommand sends arbitrary command blocks to a disk and runs their data
// phases. After every command the disk must send a status.
func FuzzCommand(f *testing.F) {
	for _, block := range []string{
		"\x00", "\x03\x00\x00\x00\x12", "\x12\x00\x00\x00\x24", "\x12\x01\x80\x00\xff", "\x1a\x00\x3f\x00\xc0",
		"\x1b\x00\x00\x00\x00",
		"\x1e\x00\x00\x00\x01", "\x23\x00\x00\x00\x00\x00\x00\x00\xfc", "\x25", "\x28\x00\x00\x00\x00\x01\x00\x00\x08",
		"\x2a\x00\x00\x00\x1f\xff\x00\x00\x02", "\x2f\x02", "\x35", "\xa0\x00\x00\x00\x00\x00\x00\x00\x00\x10",
	} {
		f.Add([]byte(block), uint32(512), true)
		f.Add([]byte(block), uint32(0), false)
	}
	image, err := NewSample(SampleConfig{Size: 4 * mebibyte})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, block []byte, length uint32, toHost bool) {
		d, err := NewDisk(DiskConfig{Store: image, Size: image.Size()})
		if err != nil {
			t.Fatal(err)
		}
		halted := make(map[usb.Endpoint]bool)
		d.attach(port{halt: func(e usb.Endpoint) { halted[e] = true }})
		if len(block) < 1 || len(block) > 16 {
			return
		}
		length %= 1 << 20
		wrapper := make([]byte, commandLength)
		copy(wrapper, "USBC")
		wrapper[8], wrapper[9], wrapper[10] = byte(length), byte(length>>8), byte(length>>16)
		if toHost {
			wrapper[12] = 0x80
		}
		wrapper[14] = byte(len(block))
		copy(wrapper[15:], block)
		if n, o := d.out(diskOut, wrapper); n != commandLength || o != done {
			t.Fatalf("command: %d bytes, outcome %d", n, o)
		}
		if length > 0 && toHost && !halted[diskIn] {
			if n, o := d.in(diskIn, make([]byte, length)); o == wait && n == 0 || o == babble || n > int(length) {
				t.Fatalf("data in: %d bytes, outcome %d", n, o)
			}
		}
		if length > 0 && !toHost && !halted[diskOut] {
			if n, o := d.out(diskOut, make([]byte, length)); o == wait || n > int(length) {
				t.Fatalf("data out: %d bytes, outcome %d", n, o)
			}
		}
		if n, o := d.in(diskIn, make([]byte, statusLength)); n != statusLength || o != done {
			t.Fatalf("status: %d bytes, outcome %d, phase %d", n, o, d.phase)
		}
	})
}
