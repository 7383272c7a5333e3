package datagrams

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Bounds of a message that the kernel splits into segments: UDP_MAX_SEGMENTS, and the length of an IP packet without
// its headers.
const (
	maxSegments = 64
	maxRunBytes = 65535 - 60 - 8
)

// Socket is a UDP socket that any number of Writers may write to.
type Socket struct {
	raw        syscall.RawConn
	ipv6       bool        // the socket has IPv6 addresses
	noSegments atomic.Bool // the kernel does not split messages
}

// NewSocket returns a Socket for a connection.
func NewSocket(conn *net.UDPConn) (*Socket, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &Socket{raw: raw}
	var domain int
	err = raw.Control(func(fd uintptr) {
		if domain, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil {
			return
		}
		_, unknown := unix.GetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT)
		s.noSegments.Store(unknown != nil)
	})
	s.ipv6 = domain == unix.AF_INET6
	return s, err
}

// DisableSegments makes each datagram a message of its own, as if each had another sender.
func (s *Socket) DisableSegments() { s.noSegments.Store(true) }

// Writer collects datagrams and sends them together. One goroutine may use it. It holds no buffers while it is empty.
type Writer struct {
	socket *Socket
	send   func(fd uintptr) bool // w.sendmmsg, allocated once
	out    *outbox               // nil while it is empty
	sent   int                   // messages of out
	errno  syscall.Errno         // of the first message that is not sent
}

// NewWriter returns a Writer of the socket.
func (s *Socket) NewWriter() *Writer {
	w := &Writer{socket: s}
	w.send = w.sendmmsg
	return w
}

// Add copies a datagram, which consists of a header, which may be nil, and a payload, into the batch. It sends a full
// batch first. It drops a datagram that the socket cannot send, because it is too long or has an address of another
// family.
func (w *Writer) Add(header, payload []byte, to netip.AddrPort) error {
	to = unmapped(to)
	if len(header)+len(payload) > MaxSize || to.Addr().Is6() && !w.socket.ipv6 || !to.IsValid() {
		return nil
	}
	var err error
	if w.out != nil && w.out.n == MaxBatch {
		err = w.Flush()
	}
	if w.out == nil {
		w.out = outboxes.Get().(*outbox)
	}
	w.out.add(header, payload, to)
	return err
}

// Pending returns the number of datagrams that Flush would send.
func (w *Writer) Pending() int {
	if w.out == nil {
		return 0
	}
	return w.out.n
}

// Flush sends the batch. It waits while the socket has no room. Datagrams that the network refuses are dropped. The
// only error is that the socket is closed.
func (w *Writer) Flush() error {
	if w.out == nil {
		return nil
	}
	defer func() {
		outboxes.Put(w.out)
		w.out = nil
	}()
	out := w.out
	defer out.clear()
	out.group(w.socket.ipv6, !w.socket.noSegments.Load())
	for w.sent = 0; w.sent < out.runs; {
		w.errno = 0
		if err := w.socket.raw.Write(w.send); err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil
		}
		if w.errno == 0 {
			continue
		}
		// The kernel has refused the message at w.sent.
		run := w.sent
		w.sent++
		if out.segments[run] < 2 || w.errno != unix.EIO && w.errno != unix.EINVAL {
			continue
		}
		if w.errno == unix.EIO { // the network interface cannot compute checksums: udp(7)
			w.socket.noSegments.Store(true)
		}
		if err := w.sendSingly(run); err != nil { // EINVAL: the segments are too long for the path
			return err
		}
	}
	return nil
}

// sendmmsg sends the messages from w.sent on until the kernel refuses one. It reports false if the socket has no room.
func (w *Writer) sendmmsg(fd uintptr) bool {
	for w.sent < w.out.runs {
		n, errno := mmsg(unix.SYS_SENDMMSG, fd, w.out.messages[w.sent:w.out.runs])
		switch errno {
		case 0:
			w.sent += n
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			w.errno = errno
			return true
		}
	}
	return true
}

// sendSingly sends each datagram of a run as a message of its own.
func (w *Writer) sendSingly(run int) error {
	out := w.out
	to := out.messages[run].header
	for i := range out.n {
		if int(out.run[i]) != run {
			continue
		}
		vector := unix.Iovec{Base: out.base(i)}
		vector.SetLen(int(out.length[i]))
		message := [1]mmsghdr{{header: unix.Msghdr{Name: to.Name, Namelen: to.Namelen, Iov: &vector}}}
		message[0].header.SetIovlen(1)
		err := w.socket.raw.Write(func(fd uintptr) bool {
			_, errno := mmsg(unix.SYS_SENDMMSG, fd, message[:])
			return errno != unix.EAGAIN
		})
		if errors.Is(err, net.ErrClosed) {
			return err
		}
	}
	return nil
}

// outbox holds the buffers of one batch that is written. The datagrams are adjacent in data. A run is one message: one
// datagram, or several that the kernel splits again.
type outbox struct {
	n      int // number of datagrams
	used   int // bytes of data
	data   [MaxBatch * MaxSize]byte
	offset [MaxBatch]uint32
	length [MaxBatch]uint32
	to     [MaxBatch]netip.AddrPort
	run    [MaxBatch]uint8 // the run of each datagram

	runs     int
	segments [MaxBatch]int  // datagrams of each run
	bytes    [MaxBatch]int  // of each run
	first    [MaxBatch]int  // the first datagram of each run
	complete [MaxBatch]bool // no datagram may be added to the run
	messages [MaxBatch]mmsghdr
	names    [MaxBatch]unix.RawSockaddrInet6
	vectors  [MaxBatch]unix.Iovec
	controls [MaxBatch]control
}

// control is the control message UDP_SEGMENT.
type control struct {
	unix.Cmsghdr
	segment uint16 // bytes
	_       [6]byte
}

var outboxes = sync.Pool{New: func() any { return &outbox{} }}

func (o *outbox) add(header, payload []byte, to netip.AddrPort) {
	o.offset[o.n], o.length[o.n], o.to[o.n] = uint32(o.used), uint32(len(header)+len(payload)), to
	o.used += copy(o.data[o.used:], header)
	o.used += copy(o.data[o.used:], payload)
	o.n++
}

func (o *outbox) clear() { o.n, o.used, o.runs = 0, 0, 0 }

// base returns the address of the first byte of a datagram. An empty datagram may be at the end of data.
func (o *outbox) base(i int) *byte {
	return &o.data[min(int(o.offset[i]), len(o.data)-1)]
}

// group combines the datagrams to runs. The datagrams of a run have one destination and one length, except that the
// last may be shorter. The order of datagrams to one destination stays.
func (o *outbox) group(ipv6, segments bool) {
	o.runs = 0
	for i := range o.n {
		run := -1
		if segments && o.length[i] > 0 {
			run = o.runFor(i)
		}
		if run < 0 {
			run = o.runs
			o.runs++
			o.first[run], o.segments[run], o.bytes[run], o.complete[run] = i, 0, 0, o.length[i] == 0
		}
		o.run[i] = uint8(run)
		o.segments[run]++
		o.bytes[run] += int(o.length[i])
		last := o.length[i] < o.length[o.first[run]] || o.segments[run] == maxSegments
		o.complete[run] = o.complete[run] || last
	}
	o.fill(ipv6)
}

// runFor returns the run that a datagram can be added to, or -1.
func (o *outbox) runFor(i int) int {
	for run := o.runs - 1; run >= 0; run-- {
		first := o.first[run]
		if o.to[first] != o.to[i] {
			continue
		}
		if o.complete[run] || o.length[i] > o.length[first] || o.bytes[run]+int(o.length[i]) > maxRunBytes {
			return -1
		}
		return run
	}
	return -1
}

// fill writes the message of each run. Datagrams that are adjacent in memory share a vector.
func (o *outbox) fill(ipv6 bool) {
	vectors := 0
	for run := range o.runs {
		begin := vectors
		left := o.segments[run]
		end := uint32(0)
		for i := o.first[run]; left > 0; i++ {
			if int(o.run[i]) != run {
				continue
			}
			left--
			if vectors > begin && o.offset[i] == end {
				v := &o.vectors[vectors-1]
				v.SetLen(int(v.Len) + int(o.length[i]))
			} else {
				o.vectors[vectors].Base = o.base(i)
				o.vectors[vectors].SetLen(int(o.length[i]))
				vectors++
			}
			end = o.offset[i] + o.length[i]
		}
		h := &o.messages[run].header
		h.Name = (*byte)(unsafe.Pointer(&o.names[run]))
		h.Namelen = setAddress(&o.names[run], ipv6, o.to[o.first[run]])
		h.Iov = &o.vectors[begin]
		h.SetIovlen(vectors - begin)
		h.Control = nil
		h.SetControllen(0)
		if o.segments[run] > 1 {
			o.setSegment(run)
		}
	}
}

// setSegment sets the segment size of a run.
func (o *outbox) setSegment(run int) {
	c := &o.controls[run]
	c.Level, c.Type, c.segment = unix.SOL_UDP, unix.UDP_SEGMENT, uint16(o.length[o.first[run]])
	c.SetLen(unix.CmsgLen(2))
	h := &o.messages[run].header
	h.Control = (*byte)(unsafe.Pointer(c))
	h.SetControllen(unix.CmsgSpace(2))
}
