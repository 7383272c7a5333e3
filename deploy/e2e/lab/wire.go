package lab

import (
	"encoding/binary"
	"math/rand/v2"

	"golang.org/x/sys/unix"
)

const (
	ethernetHeader = 14 // bytes
	batch          = 64 // frames read before due frames are sent
)

// wire runs both directions of an emulated link on one thread.
type wire struct {
	up, down pipe
	free     [][]byte
	loop
}

func newWire(child, parent int, l *Link, seed uint64) (*wire, error) {
	w := &wire{}
	w.set(l.directions())
	for i, p := range [...]*pipe{&w.up, &w.down} {
		p.in, p.out = child, parent
		if i == 1 {
			p.in, p.out = parent, child
		}
		p.rng = rand.New(rand.NewPCG(seed, uint64(i)))
		p.wander.rng = rand.New(rand.NewPCG(seed, uint64(i)+2))
	}
	return w, w.start([]int{child, parent}, w.turn)
}

func (w *wire) set(up, down Impair) {
	w.up.cfg.Store(&up)
	w.down.cfg.Store(&down)
}

// turn moves the frames that can be moved now and returns when to call it again.
func (w *wire) turn(ready []unix.PollFd) (next int64) {
	next = -1
	for i, p := range [...]*pipe{&w.up, &w.down} {
		if ready[i].Revents != 0 && w.take(p) {
			next = 0
		}
		if at := w.deliver(p); at >= 0 && (next < 0 || at < next) {
			next = at
		}
	}
	return next
}

// take reads frames and reports whether there may be more.
func (w *wire) take(p *pipe) bool {
	now := nanos()
	for range batch {
		b := w.buffer()
		n, err := unix.Read(p.in, b)
		if err != nil || n <= 0 {
			w.free = append(w.free, b)
			return false
		}
		b = b[:n]
		if neighbour(b) {
			w.send(p, b)
		} else if !p.accept(b, now) {
			w.free = append(w.free, b)
		}
	}
	return true
}

// deliver sends the frames that are due and returns when the next one is.
func (w *wire) deliver(p *pipe) (next int64) {
	now := nanos()
	for {
		b, at := p.due(now)
		if b == nil {
			return at
		}
		if w.send(p, b) {
			p.n.out.Add(1)
		}
	}
}

// send reports whether the device accepted the frame. A device that is down does not.
func (w *wire) send(p *pipe, b []byte) bool {
	_, err := unix.Write(p.out, b)
	w.free = append(w.free, b)
	return err == nil
}

func (w *wire) buffer() []byte {
	if n := len(w.free); n > 0 {
		b := w.free[n-1]
		w.free = w.free[:n-1]
		return b[:maxFrame]
	}
	return make([]byte, maxFrame)
}

// neighbour reports whether a frame is ARP or IPv6 neighbour discovery (RFC 4861,
// ICMPv6 types 133 to 137). Links forward these unchanged, so that they do not add to
// the first packets' delay and loss.
func neighbour(b []byte) bool {
	const (
		ipv4, ipv6 = 0x0800, 0x86dd
		nextHeader = ethernetHeader + 6
		body       = ethernetHeader + 40
		icmpv6     = 58
		hopByHop   = 0
	)
	if len(b) < ethernetHeader {
		return true
	}
	switch binary.BigEndian.Uint16(b[12:]) {
	case ipv4:
		return false
	case ipv6:
		return len(b) > body && b[nextHeader] == icmpv6 && b[body] >= 133 && b[body] <= 137 ||
			len(b) > body+8 && b[nextHeader] == hopByHop && b[body] == icmpv6 // multicast listener reports
	}
	return true
}
