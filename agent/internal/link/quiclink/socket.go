package quiclink

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// socketBuffer is what the socket's two buffers are asked to hold, in bytes.
// The kernel gives what its limits permit (net.core.rmem_max, wmem_max).
const socketBuffer = 4 << 20

// socket is the endpoint's UDP socket. To a connection a packet that could not
// be sent is a lost one: a network that goes away for a second must not end
// links, which is the idle timeout's business.
type socket struct{ *net.UDPConn }

func newSocket(conn *net.UDPConn) *socket {
	_ = conn.SetReadBuffer(socketBuffer)  // as much as is permitted
	_ = conn.SetWriteBuffer(socketBuffer) // likewise
	return &socket{conn}
}

// WriteMsgUDP is the engine's way to send, with the kernel's segmentation.
func (s *socket) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (n, oobn int, err error) {
	n, oobn, err = s.UDPConn.WriteMsgUDP(b, oob, to)
	if errors.Is(err, syscall.EPERM) { // Linux sometimes says so once: golang.org/issue/63322
		n, oobn, err = s.UDPConn.WriteMsgUDP(b, oob, to)
	}
	if transient(err) {
		return len(b), len(oob), nil
	}
	return n, oobn, err
}

// WriteTo sends where control messages are not supported.
func (s *socket) WriteTo(b []byte, to net.Addr) (int, error) {
	n, err := s.UDPConn.WriteTo(b, to)
	if transient(err) {
		return len(b), nil
	}
	return n, err
}

// transient reports whether a failed write means a lost packet. Too large a
// packet and a card without checksum offload (EIO) are for the engine, which
// acts upon them; a closed socket is closed.
func transient(err error) bool {
	return err != nil && !errors.Is(err, syscall.EMSGSIZE) && !errors.Is(err, syscall.EIO) && !errors.Is(err, net.ErrClosed)
}

// wrapped is somebody else's packet connection to one remote address, made fit
// for a transport of its own.
type wrapped struct {
	net.PacketConn
	once sync.Once
}

// WriteTo turns every failure but the connection's end into a lost packet.
func (w *wrapped) WriteTo(b []byte, to net.Addr) (int, error) {
	n, err := w.PacketConn.WriteTo(b, to)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return len(b), nil
	}
	return n, err
}

// SetReadDeadline in the past is how a transport that closes wakes its reader.
// Not every packet connection knows deadlines; each knows Close.
func (w *wrapped) SetReadDeadline(t time.Time) error {
	if !t.IsZero() && !t.After(time.Now()) {
		return w.Close()
	}
	return nil
}

// SetDeadline is SetReadDeadline: writes do not block.
func (w *wrapped) SetDeadline(t time.Time) error { return w.SetReadDeadline(t) }

// SetWriteDeadline does nothing: writes do not block.
func (w *wrapped) SetWriteDeadline(time.Time) error { return nil }

// SetReadBuffer and SetWriteBuffer are accepted: there is no socket here whose
// buffers the engine could size, and it would complain in the log.
func (w *wrapped) SetReadBuffer(int) error  { return nil }
func (w *wrapped) SetWriteBuffer(int) error { return nil }

// Close closes the packet connection, once.
func (w *wrapped) Close() error {
	var err error
	w.once.Do(func() { err = w.PacketConn.Close() })
	return err
}
