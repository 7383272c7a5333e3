package stagetest

import (
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// IsoDriver keeps URBs submitted to an isochronous endpoint, as drivers do.
type IsoDriver struct {
	Device   usb.Device
	Endpoint usb.Endpoint
	URBs     int
	Packets  int            // of an URB
	Room     int            // bytes of an IN packet
	Next     func() []byte  // returns the data of the next OUT packet
	Done     func(*usb.URB) // receives each URB that completes with StatusOK; may be nil

	mu       sync.Mutex
	stopping bool              // guarded by mu
	pending  map[*usb.URB]bool // guarded by mu
	ended    []usb.Status      // guarded by mu: of the URBs that completed with another status
}

// Start submits the URBs.
func (d *IsoDriver) Start() {
	d.mu.Lock()
	d.pending, d.stopping = map[*usb.URB]bool{}, false
	d.mu.Unlock()
	for range d.URBs {
		d.submit(&usb.URB{Endpoint: d.Endpoint, Flags: usb.IsoASAP, Done: d.done})
	}
}

func (d *IsoDriver) done(u *usb.URB) {
	ok := u.Status == usb.StatusOK
	d.mu.Lock()
	delete(d.pending, u)
	if !ok {
		d.ended = append(d.ended, u.Status)
	}
	d.mu.Unlock()
	if !ok {
		return
	}
	if d.Done != nil {
		d.Done(u)
	}
	d.submit(u)
}

func (d *IsoDriver) submit(u *usb.URB) {
	u.Packets, u.Data = u.Packets[:0], u.Data[:0]
	for range d.Packets {
		p := usb.IsoPacket{Offset: uint32(len(u.Data)), Length: uint32(d.Room)}
		if d.Endpoint.In() {
			u.Data = append(u.Data, make([]byte, d.Room)...)
		} else {
			data := d.Next()
			p.Length = uint32(len(data))
			u.Data = append(u.Data, data...)
		}
		u.Packets = append(u.Packets, p)
	}
	if !d.begin(u) {
		return
	}
	d.Device.Submit(u)
	d.mu.Lock()
	stopped := d.stopping
	d.mu.Unlock()
	if stopped {
		d.Device.Cancel(u) // Stop may have done so before the device had it
	}
}

// begin notes an URB as pending. It returns false if the driver has been stopped: as with
// usb_kill_urb (drivers/usb/core/urb.c), an URB that completes then is not submitted again.
func (d *IsoDriver) begin(u *usb.URB) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.stopping {
		d.pending[u] = true
	}
	return !d.stopping
}

// Stop cancels the URBs. It does not wait until they have ended.
func (d *IsoDriver) Stop() {
	d.mu.Lock()
	d.stopping = true
	urbs := slices.Collect(maps.Keys(d.pending))
	d.mu.Unlock()
	for _, u := range urbs {
		d.Device.Cancel(u)
	}
}

// Pending returns the number of URBs that have not completed, and the statuses other than
// StatusOK of those that have.
func (d *IsoDriver) Pending() (int, []usb.Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.pending), slices.Clone(d.ended)
}

// Numbered returns a packet of n bytes that carries a number.
func Numbered(number uint64, n int) []byte {
	b := make([]byte, n)
	binary.LittleEndian.PutUint64(b, number+1)
	for i := 8; i < n; i++ {
		b[i] = byte(number)
	}
	return b
}

// numberOf is the reverse of Numbered. It returns false for silence and for wrong data.
func numberOf(b []byte) (uint64, bool) {
	if len(b) < 8 || binary.LittleEndian.Uint64(b) == 0 {
		return 0, false
	}
	number := binary.LittleEndian.Uint64(b) - 1
	return number, len(b) == 8 || b[len(b)-1] == byte(number)
}

// IsoMeter finds the gaps in a stream of packets of Numbered. Its user calls Read for an
// IN, or Wrote and Played for an OUT, and then Result.
type IsoMeter struct {
	Size    func(number uint64) int       // bytes of a packet
	Taken   func(number uint64) time.Time // when the device has taken an IN packet
	Playout time.Duration                 // a packet that is later than this is a gap

	mu sync.Mutex
	// Guarded by mu.
	over   bool
	next   uint64               // the number that comes next, after the first one
	wrote  uint64               // packets that the driver has seen played
	due    map[uint64]time.Time // when it saw them
	result IsoResult
}

// IsoResult is the result of an IsoMeter.
type IsoResult struct {
	Packets, Gaps int
	Bytes         int64
	Late          []time.Duration // of each packet, in the order of their arrival
}

// Latest returns the latest of the packets.
func (r IsoResult) Latest() time.Duration {
	if len(r.Late) == 0 {
		return 0
	}
	return slices.Max(r.Late)
}

// Read notes an URB that the driver has read.
func (m *IsoMeter) Read(u *usb.URB) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range u.Packets {
		data := u.Data[p.Offset : p.Offset+p.Actual]
		if number, ok := numberOf(data); ok {
			m.note(number, len(data), m.Taken(number))
		} else {
			m.silence()
		}
	}
}

// Wrote notes an URB that the driver has written, and believes to be played.
func (m *IsoMeter) Wrote(u *usb.URB) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.due == nil {
		m.due = map[uint64]time.Time{}
	}
	for _, p := range u.Packets {
		m.due[m.wrote] = time.Now()
		m.wrote++
		if p.Actual != p.Length || p.Status != usb.StatusOK {
			m.result.Gaps++
		}
	}
}

// Played notes a packet that the device plays.
func (m *IsoMeter) Played(data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	number, ok := numberOf(data)
	if !ok {
		m.silence()
		return
	}
	due, known := m.due[number]
	delete(m.due, number)
	if !known {
		due = time.Now() // the driver has not seen it as played
	}
	m.note(number, len(data), due)
}

// silence notes a packet without data. mu must be held.
func (m *IsoMeter) silence() {
	if m.result.Packets > 0 && !m.over {
		m.result.Gaps++
	}
}

// note notes a packet. mu must be held.
func (m *IsoMeter) note(number uint64, size int, due time.Time) {
	if m.over {
		return
	}
	late := time.Since(due)
	if m.result.Packets > 0 && number != m.next || size != m.Size(number) || late > m.Playout {
		m.result.Gaps++
	}
	m.next = number + 1
	m.result.Packets++
	m.result.Bytes += int64(size)
	m.result.Late = append(m.result.Late, late)
}

// Result ends the measurement and returns its result.
func (m *IsoMeter) Result() IsoResult {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.over = true
	return m.result
}
