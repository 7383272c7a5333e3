package quiclink

import (
	"encoding/binary"
	"net"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	receiveBatch   = 8        // reads of the kernel's queue in one system call
	receiveSize    = 64 << 10 // bytes: the longest that the kernel coalesces, and the longest UDP packet
	controlSize    = 128      // bytes of control messages of one read
	segmentMsgSize = 4        // bytes: the kernel's answer is an int
)

// receiver reads packets that the kernel has coalesced (UDP_GRO, include/uapi/linux/udp.h):
// one read returns up to 64 packets of one sender, of which all but the last one have the
// same size. The engine's goroutine that reads owns it.
type receiver struct {
	conn      *ipv4.PacketConn
	coalesces bool // whether the kernel has UDP_GRO; Linux 5.0 and later

	reads   []ipv4.Message // of the last system call
	unread  int            // the index of the first one that was not returned completely
	data    []byte         // the rest of that one
	control []byte         // its control messages without that of UDP_GRO
	segment int            // its packets' size in bytes
}

func newReceiver(conn *net.UDPConn) receiver {
	r := receiver{conn: ipv4.NewPacketConn(conn)}
	raw, err := conn.SyscallConn()
	if err != nil {
		return r // reads fail too
	}
	_ = raw.Control(func(fd uintptr) { // fails only on a closed connection
		r.coalesces = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil
	})
	return r
}

// ReadBatch reads packets. The engine calls it instead of its own function if a connection
// has it. ms must have a buffer each.
func (r *receiver) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	if !r.coalesces {
		return r.conn.ReadBatch(ms, flags)
	}
	if r.unread == len(r.reads) {
		if err := r.read(flags); err != nil {
			return 0, err
		}
	}
	n := 0
	for ; n < len(ms) && r.unread < len(r.reads); n++ {
		r.take(&ms[n])
	}
	return n, nil
}

// read waits for packets and makes one system call.
func (r *receiver) read(flags int) error {
	if r.reads == nil {
		r.reads = make([]ipv4.Message, receiveBatch)
		for i := range r.reads {
			r.reads[i].Buffers = [][]byte{make([]byte, receiveSize)}
			r.reads[i].OOB = make([]byte, controlSize)
		}
	}
	r.reads, r.unread = r.reads[:receiveBatch], 0
	n, err := r.conn.ReadBatch(r.reads, flags)
	r.reads = r.reads[:max(n, 0)]
	if err != nil {
		return err
	}
	r.begin()
	return nil
}

// begin makes the next read the current one, if there is any.
func (r *receiver) begin() {
	if r.unread == len(r.reads) {
		return
	}
	m := &r.reads[r.unread]
	r.data = m.Buffers[0][:m.N]
	r.control, r.segment = segmentSize(m.OOB[:m.NN])
	if r.segment == 0 {
		r.segment = len(r.data)
	}
}

// take copies the next packet.
func (r *receiver) take(to *ipv4.Message) {
	from := &r.reads[r.unread]
	packet := r.data[:min(r.segment, len(r.data))]
	to.N = copy(to.Buffers[0], packet) // a packet that does not fit is longer than the engine accepts
	to.NN = copy(to.OOB, r.control)
	to.Addr, to.Flags = from.Addr, from.Flags
	if r.data = r.data[len(packet):]; len(r.data) == 0 {
		r.unread++
		r.begin()
	}
}

// segmentSize returns the size of the packets in a read, 0 if the kernel has coalesced none,
// and the control messages without the one for it. The kernel puts that one first (net/ipv4/udp.c,
// udp_recvmsg).
func segmentSize(control []byte) (rest []byte, size int) {
	if len(control) < unix.CmsgSpace(segmentMsgSize) {
		return control, 0
	}
	h, data, rest, err := unix.ParseOneSocketControlMessage(control)
	if err != nil || h.Level != unix.IPPROTO_UDP || h.Type != unix.UDP_GRO || len(data) < segmentMsgSize {
		return control, 0
	}
	return rest, int(binary.NativeEndian.Uint32(data))
}
