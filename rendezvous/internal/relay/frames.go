package relay

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Bounds of a client's TCP or TLS connection.
const (
	maxFrame       = 1599             // bytes of one message; the TURN server takes less than 1600
	firstFrame     = 10 * time.Second // until the first message is complete
	withoutUse     = 30 * time.Second // between two messages while nothing is allocated
	withUse        = 6 * time.Minute  // while something is: permissions are renewed every 5 minutes
	frameRest      = 10 * time.Second // from a message's header to its end
	clientPatience = 5 * time.Second  // for a client that does not read
	channelHeader  = 4                // RFC 5766 section 11.4
	stunHeader     = 20               // RFC 8489 section 5
	magicCookie    = 0x2112a442
)

var errFrame = errors.New("neither a STUN message nor channel data of a possible length")

// framed makes messages of a TCP connection (RFC 5766 section 2.1): exactly one
// for each ReadFrom, none larger than maxFrame, each in time. It keeps no more
// than one message in memory.
type framed struct {
	net.Conn
	in    *bufio.Reader
	door  *door
	begun bool // a message was complete
}

func newFramed(conn net.Conn, d *door) *framed {
	return &framed{Conn: conn, in: bufio.NewReaderSize(conn, maxFrame+1), door: d}
}

// ReadFrom reads the next message. Errors are final; the connection is closed
// with them.
func (f *framed) ReadFrom(p []byte) (int, net.Addr, error) {
	n, err := f.read(p)
	if err != nil {
		f.Conn.Close()
		return 0, nil, err
	}
	f.begun = true
	return n, f.RemoteAddr(), nil
}

func (f *framed) read(p []byte) (int, error) {
	f.SetReadDeadline(time.Now().Add(f.patience()))
	header, err := f.in.Peek(channelHeader)
	if err != nil {
		return 0, err
	}
	size, rest := frameSize(header)
	if size < channelHeader || size+rest > maxFrame || size+rest > len(p) {
		return 0, fmt.Errorf("%w: %x", errFrame, header)
	}
	if f.begun {
		f.SetReadDeadline(time.Now().Add(frameRest))
	}
	if _, err := io.ReadFull(f.in, p[:size]); err != nil {
		return 0, err
	}
	if _, err := f.in.Discard(rest); err != nil {
		return 0, err
	}
	// Header is of the reader's buffer, which has moved on: p is to be looked at.
	if p[0]&0xc0 == 0 && binary.BigEndian.Uint32(p[4:]) != magicCookie {
		return 0, fmt.Errorf("%w: no magic cookie", errFrame)
	}
	return size, nil
}

// frameSize returns the length of the message that begins with header, and of
// the padding behind it; a length of 0 is none.
func frameSize(header []byte) (size, padding int) {
	length := int(binary.BigEndian.Uint16(header[2:]))
	switch {
	case header[0]&0xc0 == 0 && length%4 == 0: // STUN
		return stunHeader + length, 0
	case header[0]&0xf0 == 0x40: // channels 0x4000 to 0x4FFF, RFC 8656 section 12
		return channelHeader + length, -length & 3
	}
	return 0, 0
}

func (f *framed) patience() time.Duration {
	switch {
	case !f.begun:
		return firstFrame
	case len(f.door.allocations()) == 0:
		return withoutUse
	}
	return withUse
}

// WriteTo writes a message to the client. A client that does not read loses its
// connection.
func (f *framed) WriteTo(p []byte, _ net.Addr) (int, error) {
	f.SetWriteDeadline(time.Now().Add(clientPatience))
	n, err := f.Conn.Write(p)
	if err != nil {
		f.Conn.Close()
	}
	return n, err
}
