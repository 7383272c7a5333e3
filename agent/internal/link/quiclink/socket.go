package quiclink

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// socketBufferSize is the requested size of the socket's two buffers, in bytes.
// The kernel may give less (net.core.rmem_max, net.core.wmem_max).
const socketBufferSize = 4 << 20

// socket is the endpoint's UDP socket. It reports a packet that cannot be sent as
// sent, so that QUIC treats it as lost. A network that fails for a second must not
// end links; the idle timeout ends them.
type socket struct {
	*net.UDPConn
	receiver
}

func newSocket(conn *net.UDPConn) *socket {
	_ = conn.SetReadBuffer(socketBufferSize)  // the kernel gives as much as it permits
	_ = conn.SetWriteBuffer(socketBufferSize) // likewise
	return &socket{conn, newReceiver(conn)}
}

// WriteMsgUDP sends packets with the kernel's segmentation offload.
func (s *socket) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (n, oobn int, err error) {
	ap := to.AddrPort() // a *net.UDPAddr would cost an allocation
	ap = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	n, oobn, err = s.WriteMsgUDPAddrPort(b, oob, ap)
	if errors.Is(err, syscall.EPERM) { // Linux sometimes returns it once: golang.org/issue/63322
		n, oobn, err = s.WriteMsgUDPAddrPort(b, oob, ap)
	}
	if transient(err) {
		return len(b), len(oob), nil
	}
	return n, oobn, err
}

// WriteTo sends a packet on systems without control messages.
func (s *socket) WriteTo(b []byte, to net.Addr) (int, error) {
	n, err := s.UDPConn.WriteTo(b, to)
	if transient(err) {
		return len(b), nil
	}
	return n, err
}

// transient reports whether a write error means a lost packet. It does not if the
// packet is too large or the network card has no checksum offload (EIO), because
// the engine handles both. Nor does it if the socket is closed.
func transient(err error) bool {
	if errors.Is(err, syscall.EMSGSIZE) || errors.Is(err, syscall.EIO) {
		return false
	}
	return err != nil && !errors.Is(err, net.ErrClosed)
}

// wrappedConn adapts a packet connection of another package to a QUIC transport.
type wrappedConn struct {
	net.PacketConn
	once sync.Once
}

// WriteTo reports every error except the end of the connection as a sent packet,
// so that QUIC treats it as lost.
func (w *wrappedConn) WriteTo(b []byte, to net.Addr) (int, error) {
	n, err := w.PacketConn.WriteTo(b, to)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return len(b), nil
	}
	return n, err
}

// SetReadDeadline closes the connection if the deadline is in the past. With such
// a deadline a transport ends its reader. Not every packet connection has
// deadlines, but all have Close.
func (w *wrappedConn) SetReadDeadline(t time.Time) error {
	if !t.IsZero() && !t.After(time.Now()) {
		return w.Close()
	}
	return nil
}

// SetDeadline calls SetReadDeadline: writes do not block.
func (w *wrappedConn) SetDeadline(t time.Time) error { return w.SetReadDeadline(t) }

// SetWriteDeadline does nothing: writes do not block.
func (w *wrappedConn) SetWriteDeadline(time.Time) error { return nil }

// SetReadBuffer does nothing: there is no socket with a buffer. Without the method
// the engine would log a warning.
func (w *wrappedConn) SetReadBuffer(int) error { return nil }

// SetWriteBuffer does nothing, like SetReadBuffer.
func (w *wrappedConn) SetWriteBuffer(int) error { return nil }

// Close closes the packet connection, once.
func (w *wrappedConn) Close() error {
	var err error
	w.once.Do(func() { err = w.PacketConn.Close() })
	return err
}
