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

// Bounds of what the kernel cuts up: UDP_MAX_SEGMENTS, and the length of an IP
// packet less its headers.
const (
	maxSegments = 64
	maxRunBytes = 65535 - 60 - 8
)

// Socket is a UDP socket that datagrams are written to, by any number of
// Writers.
type Socket struct {
	raw   syscall.RawConn
	six   bool        // addresses are IPv6's
	whole atomic.Bool // the kernel does not cut messages up
}

// NewSocket writes to a socket.
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
		_, none := unix.GetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT)
		s.whole.Store(none != nil)
	})
	s.six = domain == unix.AF_INET6
	return s, err
}

// SetWhole has each datagram be a message of its own, as those of different
// senders are.
func (s *Socket) SetWhole() { s.whole.Store(true) }

// Writer collects datagrams and sends them together. It is for one goroutine.
// While it has none it holds no buffers.
type Writer struct {
	socket *Socket
	send   func(fd uintptr) bool // w.sendmmsg, made once
	out    *outbox               // nil while there is nothing in it
	sent   int                   // messages of out
	errno  syscall.Errno         // of the message after
}

// NewWriter makes a Writer.
func (s *Socket) NewWriter() *Writer {
	w := &Writer{socket: s}
	w.send = w.sendmmsg
	return w
}

// Add copies a datagram into the batch, of a header, which may be nil, and what
// follows it. A batch that is full is sent first. What the socket cannot send,
// because it is too long or of another family, is lost.
func (w *Writer) Add(header, p []byte, to netip.AddrPort) error {
	to = unmapped(to)
	if len(header)+len(p) > MaxSize || to.Addr().Is6() && !w.socket.six || !to.IsValid() {
		return nil
	}
	var err error
	if w.out != nil && w.out.n == MaxBatch {
		err = w.Flush()
	}
	if w.out == nil {
		w.out = outboxes.Get().(*outbox)
	}
	w.out.add(header, p, to)
	return err
}

// Pending is how many datagrams Flush would send.
func (w *Writer) Pending() int {
	if w.out == nil {
		return 0
	}
	return w.out.n
}

// Flush sends the batch, waiting while the socket has no room. What the network
// refuses is lost, as datagrams are. The one error is the end of the socket.
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
	out.group(w.socket.six, !w.socket.whole.Load())
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
		// The message at w.sent is refused.
		run := w.sent
		w.sent++
		if out.segments[run] < 2 || w.errno != unix.EIO && w.errno != unix.EINVAL {
			continue
		}
		if w.errno == unix.EIO { // the interface cannot do checksums: udp(7)
			w.socket.whole.Store(true)
		}
		if err := w.one(run); err != nil { // EINVAL: segments do not fit the path
			return err
		}
	}
	return nil
}

// sendmmsg sends the messages from w.sent on until one is refused, and reports
// false if the socket has no room.
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

// one sends the datagrams of a run one by one.
func (w *Writer) one(run int) error {
	out := w.out
	for i := range out.n {
		if int(out.run[i]) != run {
			continue
		}
		vector := unix.Iovec{Base: out.base(i)}
		vector.SetLen(int(out.length[i]))
		message := [1]mmsghdr{{header: unix.Msghdr{Name: out.messages[run].header.Name, Namelen: out.messages[run].header.Namelen, Iov: &vector}}}
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

// outbox is the buffers of one batch that is written. Its datagrams lie one
// after another; those of one run are one message.
type outbox struct {
	n      int // datagrams in it
	used   int // bytes of data
	data   [MaxBatch * MaxSize]byte
	offset [MaxBatch]uint32
	length [MaxBatch]uint32
	to     [MaxBatch]netip.AddrPort
	run    [MaxBatch]uint8 // of each datagram

	runs     int
	segments [MaxBatch]int // datagrams of each run
	bytes    [MaxBatch]int
	first    [MaxBatch]int // the datagram that a run begins with
	done     [MaxBatch]bool
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

func (o *outbox) add(header, p []byte, to netip.AddrPort) {
	o.offset[o.n], o.length[o.n], o.to[o.n] = uint32(o.used), uint32(len(header)+len(p)), to
	o.used += copy(o.data[o.used:], header)
	o.used += copy(o.data[o.used:], p)
	o.n++
}

func (o *outbox) clear() { o.n, o.used, o.runs = 0, 0, 0 }

func (o *outbox) base(i int) *byte {
	return &o.data[min(int(o.offset[i]), len(o.data)-1)] // an empty one may stand at the very end
}

// group makes messages of the datagrams. A run has one destination and one
// length, but that the last may be shorter; the order for one destination stays.
func (o *outbox) group(six, cut bool) {
	o.runs = 0
	for i := range o.n {
		run := -1
		if cut && o.length[i] > 0 {
			run = o.open(i)
		}
		if run < 0 {
			run = o.runs
			o.runs++
			o.first[run], o.segments[run], o.bytes[run], o.done[run] = i, 0, 0, o.length[i] == 0
		}
		o.run[i] = uint8(run)
		o.segments[run]++
		o.bytes[run] += int(o.length[i])
		o.done[run] = o.done[run] || o.length[i] < o.length[o.first[run]] || o.segments[run] == maxSegments
	}
	o.fill(six)
}

// open returns the run that datagram i goes on, or -1.
func (o *outbox) open(i int) int {
	for run := o.runs - 1; run >= 0; run-- {
		first := o.first[run]
		if o.to[first] != o.to[i] {
			continue
		}
		if o.done[run] || o.length[i] > o.length[first] || o.bytes[run]+int(o.length[i]) > maxRunBytes {
			return -1
		}
		return run
	}
	return -1
}

// fill writes the messages of the runs. Neighbours in memory share a vector.
func (o *outbox) fill(six bool) {
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
		h.Namelen = setAddress(&o.names[run], six, o.to[o.first[run]])
		h.Iov = &o.vectors[begin]
		h.SetIovlen(vectors - begin)
		h.Control = nil
		h.SetControllen(0)
		if o.segments[run] > 1 {
			o.cut(run)
		}
	}
}

// cut says how long the segments of a run are.
func (o *outbox) cut(run int) {
	c := &o.controls[run]
	c.Level, c.Type, c.segment = unix.SOL_UDP, unix.UDP_SEGMENT, uint16(o.length[o.first[run]])
	c.SetLen(unix.CmsgLen(2))
	h := &o.messages[run].header
	h.Control = (*byte)(unsafe.Pointer(c))
	h.SetControllen(unix.CmsgSpace(2))
}
