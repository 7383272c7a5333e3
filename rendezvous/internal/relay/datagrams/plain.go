//go:build !linux

package datagrams

import (
	"errors"
	"net"
	"net/netip"
)

// Reader reads the datagrams of a socket. One goroutine may use it.
type Reader struct {
	conn *net.UDPConn
	data [MaxSize]byte
}

// NewReader returns a Reader of a socket that has no other reader.
func NewReader(conn *net.UDPConn) (*Reader, error) { return &Reader{conn: conn}, nil }

// Buffered returns the number of datagrams that Next returns without waiting.
func (r *Reader) Buffered() int { return 0 }

// Next waits for the next datagram and returns it with its sender, whose address is IPv4 if it can be. The datagram is
// valid until the next call. An error other than net.ErrClosed reports a problem with a datagram that was sent before.
func (r *Reader) Next() ([]byte, netip.AddrPort, error) {
	n, from, err := r.conn.ReadFromUDPAddrPort(r.data[:])
	return r.data[:n], unmapped(from), err
}

// Socket is a UDP socket that any number of Writers may write to.
type Socket struct{ conn *net.UDPConn }

// NewSocket returns a Socket for a connection.
func NewSocket(conn *net.UDPConn) (*Socket, error) { return &Socket{conn: conn}, nil }

// SetBuffers requests kernel buffers of a size in bytes in both directions. The system may limit them.
func SetBuffers(conn *net.UDPConn, size int) {
	conn.SetReadBuffer(size)
	conn.SetWriteBuffer(size)
}

// DisableSegments does nothing: each datagram is a message of its own.
func (s *Socket) DisableSegments() {}

// Writer sends datagrams.
type Writer struct {
	socket *Socket
	joined [MaxSize]byte
}

// NewWriter returns a Writer of the socket.
func (s *Socket) NewWriter() *Writer { return &Writer{socket: s} }

// Add sends a datagram that consists of a header, which may be nil, and a payload. A datagram that the network
// refuses is dropped. The only error is that the socket is closed.
func (w *Writer) Add(header, payload []byte, to netip.AddrPort) error {
	if len(header)+len(payload) > MaxSize {
		return nil
	}
	if len(header) > 0 {
		payload = append(append(w.joined[:0], header...), payload...)
	}
	if _, err := w.socket.conn.WriteToUDPAddrPort(payload, to); errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Pending returns the number of datagrams that Flush would send.
func (w *Writer) Pending() int { return 0 }

// Flush does nothing, because Add has sent everything.
func (w *Writer) Flush() error { return nil }
