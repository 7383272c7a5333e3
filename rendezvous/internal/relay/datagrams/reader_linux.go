package datagrams

import (
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reader reads the datagrams of a socket. One goroutine may use it. It holds no buffers while it waits.
type Reader struct {
	raw  syscall.RawConn
	fill func(fd uintptr) bool // r.receive, allocated once
	in   *inbox                // nil while it is empty
	next int                   // index of the datagram that Next returns
	err  error                 // of the last receive
}

// NewReader returns a Reader of a socket that has no other reader.
func NewReader(conn *net.UDPConn) (*Reader, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &Reader{raw: raw}
	r.fill = r.receive
	return r, nil
}

// Buffered returns the number of datagrams that Next returns without waiting.
func (r *Reader) Buffered() int {
	if r.in == nil {
		return 0
	}
	return r.in.n - r.next
}

// Next returns the next datagram with its sender, whose address is IPv4 if it can be. It waits if no datagram is
// buffered. The datagram is valid until the next call. An error other than net.ErrClosed reports a problem with a
// datagram that was sent before.
func (r *Reader) Next() ([]byte, netip.AddrPort, error) {
	if r.in != nil && r.next == r.in.n {
		inboxes.Put(r.in)
		r.in = nil
	}
	if r.in == nil {
		r.next = 0
		if err := r.raw.Read(r.fill); err != nil {
			return nil, netip.AddrPort{}, err
		}
		if r.err != nil {
			return nil, netip.AddrPort{}, r.err
		}
	}
	data, from := r.in.at(r.next)
	r.next++
	return data, from, nil
}

// receive fills an inbox. It reports false if no datagram has arrived.
func (r *Reader) receive(fd uintptr) bool {
	in := inboxes.Get().(*inbox)
	for {
		n, errno := mmsg(unix.SYS_RECVMMSG, fd, in.messages[:])
		switch errno {
		case 0:
			in.n, r.in, r.err = n, in, nil
			return true
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			inboxes.Put(in)
			return false
		}
		inboxes.Put(in)
		r.err = errno
		return true
	}
}

// inbox holds the buffers of one batch that is read.
type inbox struct {
	messages [MaxBatch]mmsghdr
	vectors  [MaxBatch]unix.Iovec
	names    [MaxBatch]unix.RawSockaddrInet6 // room for either family
	data     [MaxBatch][MaxSize]byte
	n        int // number of datagrams
}

var inboxes = sync.Pool{New: func() any {
	in := &inbox{}
	for i := range in.messages {
		in.vectors[i].Base = &in.data[i][0]
		in.vectors[i].SetLen(MaxSize)
		h := &in.messages[i].header
		h.Iov = &in.vectors[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&in.names[i]))
		h.Namelen = unix.SizeofSockaddrInet6
	}
	return in
}}

// at returns a datagram and its sender.
func (in *inbox) at(i int) ([]byte, netip.AddrPort) {
	h := &in.messages[i].header
	h.Namelen = unix.SizeofSockaddrInet6 // the kernel has overwritten it
	return in.data[i][:in.messages[i].length], address(&in.names[i])
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32 // of the datagram
}

// mmsg calls recvmmsg or sendmmsg, without waiting. It does not announce the system call, which takes microseconds, to
// the Go scheduler. Otherwise the scheduler could give the processor to another thread, and to get it back would cost a
// third of the time that a relay needs.
func mmsg(call, fd uintptr, messages []mmsghdr) (int, syscall.Errno) {
	first := unsafe.Pointer(&messages[0])
	n, _, errno := unix.RawSyscall6(call, fd, uintptr(first), uintptr(len(messages)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// address returns a socket address of either family.
func address(name *unix.RawSockaddrInet6) netip.AddrPort {
	port := name.Port<<8 | name.Port>>8
	if !littleEndian {
		port = name.Port
	}
	if name.Family == unix.AF_INET {
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(four.Addr), port)
	}
	ip := netip.AddrFrom16(name.Addr).Unmap()
	if name.Scope_id != 0 && ip.Is6() {
		ip = ip.WithZone(strconv.FormatUint(uint64(name.Scope_id), 10))
	}
	return netip.AddrPortFrom(ip, port)
}

// setAddress writes a socket address for an IPv6 or an IPv4 socket, and returns its length.
func setAddress(name *unix.RawSockaddrInet6, ipv6 bool, to netip.AddrPort) (length uint32) {
	port := to.Port()
	if littleEndian {
		port = port<<8 | port>>8
	}
	if !ipv6 {
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		*four = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: to.Addr().As4()}
		return unix.SizeofSockaddrInet4
	}
	scope, _ := strconv.ParseUint(to.Addr().Zone(), 10, 32) // as address writes it; 0 without a zone
	*name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: port, Addr: to.Addr().As16(), Scope_id: uint32(scope)}
	return unix.SizeofSockaddrInet6
}

var littleEndian = func() bool {
	one := uint16(1)
	return *(*byte)(unsafe.Pointer(&one)) == 1
}()
