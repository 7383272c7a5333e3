package isochronous_test

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/isochronous"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pathConfig describes a network path.
type pathConfig struct {
	delay  time.Duration // one way
	jitter time.Duration // highest additional delay
	loss   float64       // of lossy frames
}

// network is a device of a host behind a path that also carries lossy frames.
type network struct {
	*stagetest.Path
	cfg     pathConfig
	receive [2]func(tunnel.Frame) // at the client and at the host
	host    *isochronous.Host

	mu     sync.Mutex
	random *rand.Rand
	down   bool
	sent   int64        // bytes
	last   [2]time.Time // of the last frame to each side
}

func newNetwork(dev usb.Device, cfg pathConfig) *network {
	n := &network{cfg: cfg, host: isochronous.NewHost(dev), random: rand.New(rand.NewPCG(1, 9))}
	n.Path = stagetest.NewPath(n.host, stagetest.PathConfig{Delay: cfg.delay, Jitter: cfg.jitter})
	n.receive[1] = n.host.Isochronous(n.castTo(0))
	return n
}

// Isochronous connects the client.
func (n *network) Isochronous(receive func(tunnel.Frame)) (func(uint8, tunnel.Kind, []byte), bool) {
	n.receive[0] = receive
	return n.castTo(1), true
}

func (n *network) castTo(side int) func(uint8, tunnel.Kind, []byte) {
	return func(endpoint uint8, kind tunnel.Kind, body []byte) {
		f := tunnel.Frame{Lane: tunnel.EndpointLane(1, endpoint), Kind: kind, Body: body}
		if err := f.Check(); err != nil {
			panic(err)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.sent += int64(len(body))
		if n.down || n.random.Float64() < n.cfg.loss {
			return
		}
		delay := n.cfg.delay
		if n.cfg.jitter > 0 {
			delay += time.Duration(n.random.Int64N(int64(n.cfg.jitter)))
		}
		at := time.Now().Add(delay)
		if n.cfg.jitter == 0 && !at.After(n.last[side]) {
			at = n.last[side].Add(1) // in order
		}
		n.last[side] = at
		time.AfterFunc(time.Until(at), func() { n.receive[side](f) })
	}
}

func (n *network) setDown(down bool) {
	n.mu.Lock()
	n.down = down
	n.mu.Unlock()
	n.SetDown(down)
}

// newStage returns the stage above a path to a device.
func newStage(t *testing.T, dev usb.Device, cfg pathConfig) (*isochronous.Stage, *network) {
	t.Helper()
	n := newNetwork(dev, cfg)
	s, reason := isochronous.New(n)
	if s == nil {
		t.Fatal(reason)
	}
	return s, n
}

// selectSetting sets the alternate setting, as a driver does.
func selectSetting(t *testing.T, dev usb.Device, alternate uint16) {
	t.Helper()
	u := &usb.URB{Setup: usb.Setup{Type: 1, Request: 11, Value: alternate}.Bytes()}
	if status := usb.Do(t.Context(), dev, u); status != usb.StatusOK {
		t.Fatalf("alternate setting %d: status %d", alternate, status)
	}
}

// driver keeps URBs submitted, as drivers of isochronous endpoints do.
type driver struct {
	dev      usb.Device
	endpoint usb.Endpoint
	urbs     int
	packets  int              // of an URB
	room     int              // bytes of an IN packet
	next     func() []byte    // data of the next OUT packet
	done     func(u *usb.URB) // handles a completed URB
	stopping bool             // guarded by mu
	mu       sync.Mutex
	pending  map[*usb.URB]bool // guarded by mu
	odd      []usb.Status      // guarded by mu: statuses other than OK
}

func (d *driver) start() {
	d.mu.Lock()
	d.pending, d.stopping = map[*usb.URB]bool{}, false
	d.mu.Unlock()
	for range d.urbs {
		u := &usb.URB{Endpoint: d.endpoint, Flags: usb.IsoASAP}
		u.Done = func(u *usb.URB) {
			d.mu.Lock()
			delete(d.pending, u)
			ok := u.Status == usb.StatusOK
			if !ok {
				d.odd = append(d.odd, u.Status)
			}
			again := ok && !d.stopping
			d.mu.Unlock()
			if ok && d.done != nil {
				d.done(u)
			}
			if again {
				d.submit(u)
			}
		}
		d.submit(u)
	}
}

func (d *driver) submit(u *usb.URB) {
	u.Packets, u.Data = u.Packets[:0], u.Data[:0]
	for range d.packets {
		p := usb.IsoPacket{Offset: uint32(len(u.Data)), Length: uint32(d.room)}
		if d.endpoint.In() {
			u.Data = append(u.Data, make([]byte, d.room)...)
		} else {
			data := d.next()
			p.Length = uint32(len(data))
			u.Data = append(u.Data, data...)
		}
		u.Packets = append(u.Packets, p)
	}
	d.mu.Lock()
	d.pending[u] = true
	d.mu.Unlock()
	d.dev.Submit(u)
}

// stop cancels the URBs, as usb_kill_urb does, and returns the number of those that are
// still pending a moment later.
func (d *driver) stop() int {
	d.mu.Lock()
	d.stopping = true
	var urbs []*usb.URB
	for u := range d.pending {
		urbs = append(urbs, u)
	}
	d.mu.Unlock()
	for _, u := range urbs {
		d.dev.Cancel(u)
	}
	synctest.Wait()
	return d.left()
}

func (d *driver) left() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.pending)
}

// numbered returns a packet of n bytes that begins with a number.
func numbered(number uint64, n int) []byte {
	b := make([]byte, n)
	binary.LittleEndian.PutUint64(b, number+1)
	for i := 8; i < n; i++ {
		b[i] = byte(number)
	}
	return b
}

// numberOf is the reverse of numbered. It returns false for silence and for wrong data.
func numberOf(b []byte) (uint64, bool) {
	if len(b) < 8 || binary.LittleEndian.Uint64(b) == 0 {
		return 0, false
	}
	number := binary.LittleEndian.Uint64(b) - 1
	return number, len(b) == 8 || b[len(b)-1] == byte(number)
}
