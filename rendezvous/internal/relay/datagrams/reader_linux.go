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

// Reader reads the datagrams of a socket. It is for one goroutine. While it
// waits it holds no buffers.
type Reader struct {
	raw  syscall.RawConn
	fill func(fd uintptr) bool // r.receive, made once
	in   *inbox                // nil while there is nothing in it
	next int                   // index of the datagram that Next returns
	err  error                 // of the last receive
}

// NewReader reads from a socket that nobody else reads from.
func NewReader(conn *net.UDPConn) (*Reader, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &Reader{raw: raw}
	r.fill = r.receive
	return r, nil
}

// Buffered is how many datagrams Next returns without waiting.
func (r *Reader) Buffered() int {
	if r.in == nil {
		return 0
	}
	return r.in.n - r.next
}

// Next returns the next datagram and its sender, IPv4 as IPv4. It waits for one
// if none is buffered. The datagram is good until the call after. An error that
// is not the end of the socket (net.ErrClosed) is the network's word on what
// was sent before.
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

// receive fills an inbox, and reports false if there is nothing to fill it.
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

// inbox is the buffers of one batch that is read.
type inbox struct {
	messages [MaxBatch]mmsghdr
	vectors  [MaxBatch]unix.Iovec
	names    [MaxBatch]unix.RawSockaddrInet6 // the longer of both families
	data     [MaxBatch][MaxSize]byte
	n        int // datagrams in it
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

func (in *inbox) at(i int) ([]byte, netip.AddrPort) {
	h := &in.messages[i].header
	h.Namelen = unix.SizeofSockaddrInet6 // the kernel's answer stood there
	return in.data[i][:in.messages[i].length], address(&in.names[i])
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32 // of the datagram
}

// mmsg is recvmmsg or sendmmsg, without waiting. The scheduler is not told of the
// call, which takes microseconds: told, it would give the processor to another
// thread meanwhile, and the way back costs a third of all that a relay does.
func mmsg(call, fd uintptr, messages []mmsghdr) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(call, fd, uintptr(unsafe.Pointer(&messages[0])), uintptr(len(messages)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// address reads a socket address of either family.
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

// setAddress writes a socket address for a socket of a family.
func setAddress(name *unix.RawSockaddrInet6, six bool, to netip.AddrPort) (length uint32) {
	port := to.Port()
	if littleEndian {
		port = port<<8 | port>>8
	}
	if !six {
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(name)) = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: to.Addr().As4()}
		return unix.SizeofSockaddrInet4
	}
	scope, _ := strconv.ParseUint(to.Addr().Zone(), 10, 32) // as address wrote it; 0 without a zone
	*name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: port, Addr: to.Addr().As16(), Scope_id: uint32(scope)}
	return unix.SizeofSockaddrInet6
}

var littleEndian = func() bool {
	one := uint16(1)
	return *(*byte)(unsafe.Pointer(&one)) == 1
}()
