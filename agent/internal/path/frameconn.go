package path

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// maxFrame bounds what a TURN server may send in one piece over TCP, in bytes:
// QUIC's packets have at most 1452, the wrapping adds less than 100.
const maxFrame = 2048

var errFrame = errors.New("the TURN server sent something else than TURN")

// frameConn is a TCP connection to a TURN server that lets whole and sane
// frames through and nothing else. The TURN client behind it computes lengths
// in 16 bits and never comes to an end when they wrap.
type frameConn struct {
	net.Conn
	in    *bufio.Reader
	frame []byte // what has been read of it is cut off
	buf   [maxFrame]byte
}

func newFrameConn(c net.Conn) *frameConn {
	return &frameConn{Conn: c, in: bufio.NewReaderSize(c, 2*maxFrame)}
}

// Read returns bytes of one frame.
func (f *frameConn) Read(p []byte) (int, error) {
	if len(f.frame) == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, f.frame)
	f.frame = f.frame[n:]
	return n, nil
}

// next reads a STUN message (RFC 8489 section 5) or a ChannelData message with
// its padding (RFC 8656 section 12.5).
func (f *frameConn) next() error {
	const head = 4
	if _, err := io.ReadFull(f.in, f.buf[:head]); err != nil {
		return err
	}
	length := int(binary.BigEndian.Uint16(f.buf[2:head]))
	var rest int
	switch f.buf[0] >> 6 {
	case 0:
		const cookieAndID = 16
		rest = cookieAndID + length
	case 1:
		rest = (length + 3) &^ 3
	default:
		return errFrame
	}
	if head+rest > maxFrame {
		return fmt.Errorf("%w: a frame of %d bytes", errFrame, head+rest)
	}
	if _, err := io.ReadFull(f.in, f.buf[head:head+rest]); err != nil {
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF // within a frame
		}
		return err
	}
	f.frame = f.buf[:head+rest]
	return nil
}

func (f *frameConn) server() string { return f.RemoteAddr().String() }
