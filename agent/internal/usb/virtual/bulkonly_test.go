package virtual_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual/virtualtest"
)

const (
	in, out = usb.Endpoint(0x81), usb.Endpoint(0x02)
	toHost  = 0x80
)

// Command blocks: two for the block at address 2, one without data, one for 36
// bytes of inquiry data.
var (
	readOne  = []byte{0x28, 0, 0, 0, 0, 2, 0, 0, 1, 0}
	writeOne = []byte{0x2a, 0, 0, 0, 0, 2, 0, 0, 1, 0}
	noData   = []byte{0x00, 0, 0, 0, 0, 0}
	inquiry  = []byte{0x12, 0, 0, 0, 36, 0}
)

func wrapper(length uint32, flags byte, block []byte) []byte {
	b := make([]byte, 31)
	copy(b, "USBCtag!")
	binary.LittleEndian.PutUint32(b[8:], length)
	b[12], b[14] = flags, byte(len(block))
	copy(b[15:], block)
	return b
}

func send(d usb.Device, b []byte) *usb.URB { return do(d, &usb.URB{Endpoint: out, Data: b}) }

func fetch(d usb.Device, room int) *usb.URB {
	return do(d, &usb.URB{Endpoint: in, Data: make([]byte, room)})
}

func request(d usb.Device, s usb.Setup) usb.Status { return do(d, &usb.URB{Setup: s.Bytes()}).Status }

func clearHalt(t *testing.T, d usb.Device, e usb.Endpoint) {
	t.Helper()
	if s := request(d, usb.Setup{Type: 2, Request: 1, Index: uint16(e)}); s != usb.StatusOK {
		t.Fatalf("clear halt: status %d", s)
	}
}

// status fetches the status wrapper and compares it.
func status(t *testing.T, d usb.Device, residue uint32, want byte) {
	t.Helper()
	u := fetch(d, 13)
	if u.Status != usb.StatusOK || u.Actual != 13 || string(u.Data[:8]) != "USBStag!" ||
		binary.LittleEndian.Uint32(u.Data[8:]) != residue || u.Data[12] != want {
		t.Errorf("status wrapper: status %d, % x; want residue %d, bCSWStatus %d",
			u.Status, u.Data[:u.Actual], residue, want)
	}
}

// TestThirteenCases runs the cases of Bulk-Only Transport, section 6.7.
func TestThirteenCases(t *testing.T) {
	for _, c := range []struct {
		name          string
		length        uint32 // bytes that the computer announces
		flags         byte
		block         []byte
		moved         int        // bytes of the data phase
		end           usb.Status // of the data transfer
		halted        bool       // the data endpoint is halted afterwards
		residue       uint32
		cswStatus     byte
		residueIsFree bool // phase error: the residue has no meaning
	}{
		{"1 Hn=Dn", 0, 0, noData, 0, 0, false, 0, 0, false},
		{"2 Hn<Di", 0, 0, readOne, 0, 0, false, 0, 2, true},
		{"3 Hn<Do", 0, 0, writeOne, 0, 0, false, 0, 2, true},
		{"4 Hi>Dn", 512, toHost, noData, 0, usb.StatusStall, true, 512, 0, false},
		{"5 Hi>Di, short packet", 192, toHost, inquiry, 36, usb.StatusOK, true, 156, 0, false},
		{"5 Hi>Di, whole packets", 2048, toHost, readOne, 512, usb.StatusStall, true, 1536, 0, false},
		{"6 Hi=Di", 512, toHost, readOne, 512, usb.StatusOK, false, 0, 0, false},
		{"7 Hi<Di", 256, toHost, readOne, 256, usb.StatusOK, false, 0, 2, true},
		{"8 Hi<>Do", 512, toHost, writeOne, 0, usb.StatusStall, true, 512, 2, true},
		{"9 Ho>Dn", 512, 0, noData, 0, usb.StatusStall, true, 512, 0, false},
		{"10 Ho<>Di", 512, 0, readOne, 0, usb.StatusStall, true, 512, 2, true},
		{"11 Ho>Do", 1024, 0, writeOne, 512, usb.StatusStall, true, 512, 0, false},
		{"12 Ho=Do", 512, 0, writeOne, 512, usb.StatusOK, false, 0, 0, false},
		{"13 Ho<Do", 256, 0, writeOne, 256, usb.StatusOK, false, 0, 2, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			bus, _, _ := newBus(t, virtual.DiskConfig{})
			d := virtualtest.Open(t, bus, "v-disk")
			if u := send(d, wrapper(c.length, c.flags, c.block)); u.Status != usb.StatusOK || u.Actual != 31 {
				t.Fatalf("command: status %d, %d bytes", u.Status, u.Actual)
			}
			e := out
			if c.flags == toHost {
				e = in
			}
			if c.length > 0 {
				u := do(d, &usb.URB{Endpoint: e, Data: make([]byte, c.length)})
				if u.Status != c.end || u.Actual != c.moved {
					t.Errorf("data: status %d, %d bytes; want %d, %d", u.Status, u.Actual, c.end, c.moved)
				}
			}
			if c.halted {
				u := do(d, &usb.URB{Endpoint: e, Data: make([]byte, 512)})
				if u.Status != usb.StatusStall || u.Actual != 0 {
					t.Errorf("halted endpoint: status %d, %d bytes", u.Status, u.Actual)
				}
				clearHalt(t, d, e)
			}
			if c.residueIsFree {
				if u := fetch(d, 13); u.Status != usb.StatusOK || u.Data[12] != c.cswStatus {
					t.Errorf("status wrapper: status %d, % x", u.Status, u.Data[:u.Actual])
				}
			} else {
				status(t, d, c.residue, c.cswStatus)
			}
			send(d, wrapper(512, toHost, readOne)) // the disk still works
			if u := fetch(d, 512); u.Status != usb.StatusOK || u.Actual != 512 {
				t.Errorf("the next command: status %d, %d bytes", u.Status, u.Actual)
			}
			status(t, d, 0, 0)
		})
	}
}

func TestInvalidWrapperRequiresReset(t *testing.T) {
	good := wrapper(0, 0, noData)
	broken := func(at int, b byte) []byte {
		c := bytes.Clone(good)
		c[at] = b
		return c
	}
	for name, b := range map[string][]byte{
		"short": good[:30], "long": append(bytes.Clone(good), 0), "signature": broken(0, 'X'),
		"no command": broken(14, 0), "command too long": broken(14, 17),
		"unit": broken(13, 0x10), "flags": broken(12, 1),
	} {
		bus, _, _ := newBus(t, virtual.DiskConfig{})
		d := virtualtest.Open(t, bus, "v-disk")
		if u := send(d, b); u.Status != usb.StatusStall {
			t.Errorf("%s: status %d", name, u.Status)
		}
		for _, e := range []usb.Endpoint{in, out} { // CLEAR_FEATURE alone must not help
			clearHalt(t, d, e)
			if u := do(d, &usb.URB{Endpoint: e, Data: make([]byte, 31)}); u.Status != usb.StatusStall {
				t.Errorf("%s: endpoint %#x before the reset: status %d", name, e, u.Status)
			}
		}
		if s := request(d, usb.Setup{Type: 0x21, Request: 0xff}); s != usb.StatusOK {
			t.Errorf("%s: reset: status %d", name, s)
		}
		clearHalt(t, d, in)
		clearHalt(t, d, out)
		send(d, good)
		status(t, d, 0, 0)
	}
}

func TestWrittenBlocksAreRead(t *testing.T) {
	bus, image, _ := newBus(t, virtual.DiskConfig{})
	d := virtualtest.Open(t, bus, "v-disk")
	const count = 256 // blocks, in URBs of unequal length
	data := bytes.Repeat([]byte("every block is different"), count*512/24+1)[:count*512]
	block := []byte{0x2a, 0, 0, 0, 16, 0, 0, count >> 8, count & 0xff, 0}
	send(d, wrapper(count*512, 0, block))
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 512*(1+len(rest)/512%7))
		if u := send(d, rest[:n]); u.Status != usb.StatusOK || u.Actual != n {
			t.Fatalf("data: status %d, %d bytes of %d", u.Status, u.Actual, n)
		}
		rest = rest[n:]
	}
	status(t, d, 0, 0)
	got := make([]byte, len(data))
	if _, err := image.ReadAt(got, 4096*512); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the image does not hold what was written (%v)", err)
	}
}

func TestSmallBufferIsBabble(t *testing.T) {
	bus, _, _ := newBus(t, virtual.DiskConfig{})
	d := virtualtest.Open(t, bus, "v-disk")
	send(d, wrapper(512, toHost, readOne))
	if u := fetch(d, 100); u.Status != usb.StatusOverflow {
		t.Errorf("a buffer of 100 bytes for a packet of 512: status %d", u.Status)
	}
}

func TestControlRequests(t *testing.T) {
	bus, _, _ := newBus(t, virtual.DiskConfig{})
	d := virtualtest.Open(t, bus, "v-disk")
	u := do(d, &usb.URB{Setup: usb.Setup{Type: 0xa1, Request: 0xfe, Length: 1}.Bytes(), Data: []byte{9}})
	if u.Status != usb.StatusOK || u.Actual != 1 || u.Data[0] != 0 {
		t.Errorf("GET MAX LUN: status %d, % x", u.Status, u.Data)
	}
	if s := request(d, usb.Setup{Type: 0x21, Request: 0xfd}); s != usb.StatusStall {
		t.Errorf("unknown request: status %d", s)
	}
	if s := request(d, usb.Setup{Type: 0x02, Request: 3, Index: uint16(in)}); s != usb.StatusOK {
		t.Errorf("SET_FEATURE(ENDPOINT_HALT): status %d", s)
	}
	u = do(d, &usb.URB{Setup: usb.Setup{Type: 0x82, Index: uint16(in), Length: 2}.Bytes(), Data: make([]byte, 2)})
	if u.Status != usb.StatusOK || u.Data[0] != 1 || fetch(d, 13).Status != usb.StatusStall {
		t.Errorf("GET_STATUS or a transfer does not show that the endpoint is halted")
	}
	if s := request(d, usb.Setup{Type: 0x00, Request: 9}); s != usb.StatusOK {
		t.Errorf("SET_CONFIGURATION(0): status %d", s)
	}
	if u := fetch(d, 13); u.Status != usb.StatusInvalid {
		t.Errorf("an endpoint while the device is not configured: status %d", u.Status)
	}
	if s := request(d, usb.Setup{Type: 0x00, Request: 9, Value: 1}); s != usb.StatusOK {
		t.Errorf("SET_CONFIGURATION(1): status %d", s)
	}
	send(d, wrapper(0, 0, noData))
	status(t, d, 0, 0)
}
