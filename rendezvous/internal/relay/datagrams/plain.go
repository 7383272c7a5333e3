//go:build !linux

package datagrams

import (
	"errors"
	"net"
	"net/netip"
)

// Reader reads the datagrams of a socket. It is for one goroutine.
type Reader struct {
	conn *net.UDPConn
	data [MaxSize]byte
}

// NewReader reads from a socket that nobody else reads from.
func NewReader(conn *net.UDPConn) (*Reader, error) { return &Reader{conn: conn}, nil }

// Buffered is how many datagrams Next returns without waiting.
func (r *Reader) Buffered() int { return 0 }

// Next returns the next datagram and its sender, IPv4 as IPv4. It waits for one.
// The datagram is good until the call after. An error that is not the end of
// the socket (net.ErrClosed) is the network's word on what was sent before.
func (r *Reader) Next() ([]byte, netip.AddrPort, error) {
	n, from, err := r.conn.ReadFromUDPAddrPort(r.data[:])
	return r.data[:n], unmapped(from), err
}

// Socket is a UDP socket that datagrams are written to, by any number of
// Writers.
type Socket struct{ conn *net.UDPConn }

// NewSocket writes to a socket.
func NewSocket(conn *net.UDPConn) (*Socket, error) { return &Socket{conn: conn}, nil }

// SetBuffers asks for kernel buffers of a size in bytes in both directions, or as
// much as is permitted.
func SetBuffers(conn *net.UDPConn, size int) {
	conn.SetReadBuffer(size)
	conn.SetWriteBuffer(size)
}

// SetWhole changes nothing: each datagram is a message of its own.
func (s *Socket) SetWhole() {}

// Writer sends datagrams.
type Writer struct {
	socket *Socket
	joined [MaxSize]byte
}

// NewWriter makes a Writer.
func (s *Socket) NewWriter() *Writer { return &Writer{socket: s} }

// Add sends a datagram of a header, which may be nil, and what follows it. What the network refuses is lost, as
// datagrams are. The one error is the end of the socket.
func (w *Writer) Add(header, p []byte, to netip.AddrPort) error {
	if len(header)+len(p) > MaxSize {
		return nil
	}
	if len(header) > 0 {
		p = append(append(w.joined[:0], header...), p...)
	}
	if _, err := w.socket.conn.WriteToUDPAddrPort(p, to); errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Pending is how many datagrams Flush would send.
func (w *Writer) Pending() int { return 0 }

// Flush has nothing to send.
func (w *Writer) Flush() error { return nil }
