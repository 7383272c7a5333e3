package path

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// maxFrame bounds a message of a TURN server over TCP, in bytes. QUIC packets have
// at most 1452 bytes, and TURN adds less than 100.
const maxFrame = 2048

var errFrame = errors.New("the TURN server sent bytes that are not TURN")

// frameConn is a TCP connection to a TURN server that passes only complete and
// well-formed messages. It protects the TURN client, which computes lengths in 16
// bits and loops forever when they overflow.
type frameConn struct {
	net.Conn
	in    *bufio.Reader
	frame []byte // the rest of the current message
	buf   [maxFrame]byte
}

func newFrameConn(c net.Conn) *frameConn {
	return &frameConn{Conn: c, in: bufio.NewReaderSize(c, 2*maxFrame)}
}

// Read returns bytes of one message.
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
		return fmt.Errorf("%w: a message of %d bytes", errFrame, head+rest)
	}
	if _, err := io.ReadFull(f.in, f.buf[head:head+rest]); err != nil {
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF // inside a message
		}
		return err
	}
	f.frame = f.buf[:head+rest]
	return nil
}

func (f *frameConn) server() string { return f.RemoteAddr().String() }
