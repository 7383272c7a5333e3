package stagetest

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Wrap returns the stage under test above a path to a disk, and the path. Closing the stage
// closes all.
type Wrap func(t *testing.T, disk usb.Device, cfg PathConfig) (usb.Device, *Path)

// Hostile submits URBs that make no sense, and cancels some; each byte of input selects one
// action. Afterwards it cancels all and resets the disk. It fails unless every URB
// has completed once and the disk works. It runs in virtual time.
func Hostile(t *testing.T, input []byte, wrap Wrap) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { runHostile(t, input, wrap) })
}

func runHostile(t *testing.T, input []byte, wrap Wrap) {
	t.Helper()
	disk := NewDisk(DiskConfig{Units: 2, BlockSize: 512, Blocks: 1 << 16, MaxPacket: 512})
	seed := uint64(len(input))
	staged, path := wrap(t, disk, PathConfig{Delay: 10 * time.Millisecond, Jitter: 15 * time.Millisecond, Seed: seed})
	defer func() { _ = staged.Close() }()
	random := rand.New(rand.NewPCG(seed, 3))
	h := &hostile{device: staged, path: path, left: map[*usb.URB]bool{}}
	h.submit(commandURB(command{block: []byte{0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0}, in: 8}))
	h.submit(&usb.URB{Endpoint: DiskIn, Data: make([]byte, 8)})
	h.submit(&usb.URB{Endpoint: DiskIn, Data: make([]byte, 13)})
	first := uint64(0)
	for _, b := range input {
		h.act(b, random, &first)
	}
	time.Sleep(10 * time.Second)
	path.SetDown(false)
	for _, u := range h.pending() {
		staged.Cancel(u)
	}
	time.Sleep(100 * time.Second)
	if left := h.pending(); len(left) > 0 {
		t.Fatalf("% x: %d URBs did not complete, one of endpoint %#x with %d bytes",
			input, len(left), left[0].Endpoint, len(left[0].Data))
	}
	if h.twice {
		t.Errorf("% x: an URB completed twice", input)
	}
	d := Driver{Device: staged, Timeout: timeout, tag: 1000}
	usb.Do(t.Context(), staged, &usb.URB{Setup: usb.Setup{Type: 0x23, Request: 3, Value: 4, Index: 1}.Bytes()})
	for n := range uint64(8) {
		r := d.Do(0, Read(n, 1), 512, nil)
		if want := disk.Block(0, n); r.Err != "" || r.Failed || string(r.Data) != string(want) {
			t.Fatalf("% x: after all, block %d: %v", input, n, r)
		}
	}
}

// timeout is the time that a driver gives to a command, as in Linux.
const timeout = 30 * time.Second

// hostile submits URBs and records their completion.
type hostile struct {
	device usb.Device
	path   *Path

	mu    sync.Mutex
	left  map[*usb.URB]bool
	order []*usb.URB
	twice bool
}

func (h *hostile) submit(u *usb.URB) {
	u.Done = func(u *usb.URB) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.twice = h.twice || !h.left[u]
		delete(h.left, u)
	}
	h.mu.Lock()
	h.left[u] = true
	h.order = append(h.order, u)
	h.mu.Unlock()
	h.device.Submit(u)
}

func (h *hostile) pending() []*usb.URB {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []*usb.URB
	for _, u := range h.order {
		if h.left[u] {
			list = append(list, u)
		}
	}
	return list
}

// act does one thing.
func (h *hostile) act(b byte, random *rand.Rand, first *uint64) {
	n := []int{0, 1, 13, 31, 512, 513, 4096, 65536}[b>>5]
	switch b & 0x1f {
	case 0, 1, 2, 3, 4: // an orderly read
		h.submit(commandURB(command{block: Read(*first, 8), in: 4096}))
		h.submit(&usb.URB{Endpoint: DiskIn, Data: make([]byte, 4096)})
		h.submit(&usb.URB{Endpoint: DiskIn, Data: make([]byte, 13)})
		*first += 8
	case 5:
		h.submit(commandURB(command{block: Write(*first, 8), out: make([]byte, 4096)}))
	case 6:
		h.submit(commandURB(command{block: Read(*first, 8), in: n}))
	case 7:
		h.submit(commandURB(command{block: make([]byte, 6)}))
	case 8, 9, 10:
		h.submit(&usb.URB{Endpoint: DiskIn, Data: make([]byte, n)})
	case 11, 12:
		h.submit(&usb.URB{Endpoint: DiskOut, Data: make([]byte, n)})
	case 13, 14, 15, 16:
		if list := h.pending(); len(list) > 0 {
			h.device.Cancel(list[random.IntN(len(list))])
		}
	case 17:
		for _, s := range []usb.Setup{{Type: 0x21, Request: 0xff}, clearHalt(DiskIn), clearHalt(DiskOut)} {
			h.submit(&usb.URB{Setup: s.Bytes()})
		}
	case 18:
		h.submit(&usb.URB{Setup: clearHalt(DiskIn).Bytes()})
	case 19:
		h.submit(&usb.URB{Setup: usb.Setup{Type: 0x00, Request: 9, Value: uint16(b >> 7)}.Bytes()})
	case 20:
		h.submit(&usb.URB{Setup: usb.Setup{Type: 0x01, Request: 11}.Bytes()})
	case 21:
		h.submit(&usb.URB{Setup: usb.Setup{Type: 0xa1, Request: 0xfe, Length: 1}.Bytes(), Data: make([]byte, 1)})
	case 22:
		h.submit(&usb.URB{Endpoint: DiskIn, Data: make([]byte, n), Packets: []usb.IsoPacket{{}}})
	case 23:
		h.path.SetDown(true)
	case 24:
		h.path.SetDown(false)
	default:
		time.Sleep(time.Duration(n%100) * time.Millisecond)
	}
}

func clearHalt(e usb.Endpoint) usb.Setup {
	return usb.Setup{Type: 0x02, Request: 1, Index: uint16(e)}
}

// commandURB returns the command wrapper of c.
func commandURB(c command) *usb.URB {
	w := make([]byte, 31)
	copy(w, "USBC")
	n := c.in + len(c.out)
	w[8], w[9], w[10], w[14] = byte(n), byte(n>>8), byte(n>>16), byte(len(c.block))
	if c.in > 0 {
		w[12] = 0x80
	}
	copy(w[15:], c.block)
	return &usb.URB{Endpoint: DiskOut, Data: w}
}
