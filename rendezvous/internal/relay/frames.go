package relay

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Bounds of a client's TCP or TLS connection.
const (
	maxFrame       = 1599             // bytes of one message; the TURN server takes less than 1600
	frameBuffer    = 8 << 10          // bytes: a few messages in one read
	firstFrame     = 10 * time.Second // until the first message is complete
	withoutUse     = 30 * time.Second // between two messages while nothing is allocated
	withUse        = 6 * time.Minute  // while something is: permissions are renewed every 5 minutes
	frameRest      = 10 * time.Second // from a message's first byte to its last
	clientPatience = 5 * time.Second  // for a client that does not read
	streamBatch    = 64 << 10         // bytes that are collected for one write
)

var errFrame = errors.New("neither a STUN message nor channel data of a possible length")

// framed makes messages of a TCP connection (RFC 5766 section 2.1), none larger
// than maxFrame, each in time.
type framed struct {
	net.Conn
	in    *bufio.Reader
	door  *door
	from  netip.AddrPort
	last  int  // bytes of the message that next returned, with its padding
	begun bool // a message was complete
}

func newFramed(conn net.Conn, d *door) *framed {
	from, _ := addrPort(conn.RemoteAddr())
	return &framed{Conn: conn, in: bufio.NewReaderSize(conn, frameBuffer), door: d, from: from}
}

// next reads the next message. The connection is closed with an error.
func (f *framed) next() ([]byte, netip.AddrPort, error) {
	p, err := f.read()
	if err != nil {
		f.Conn.Close()
		return nil, netip.AddrPort{}, err
	}
	f.begun = true
	return p, f.from, nil
}

func (f *framed) read() ([]byte, error) {
	f.in.Discard(f.last) // is buffered
	f.last = 0
	if f.in.Buffered() < channelHeader {
		f.SetReadDeadline(time.Now().Add(f.patience()))
	}
	header, err := f.in.Peek(channelHeader)
	if err != nil {
		return nil, err
	}
	size, rest := frameSize(header)
	if size < channelHeader || size+rest > maxFrame {
		return nil, fmt.Errorf("%w: %x", errFrame, header)
	}
	if f.begun && f.in.Buffered() < size+rest {
		f.SetReadDeadline(time.Now().Add(frameRest))
	}
	p, err := f.in.Peek(size + rest)
	if err != nil {
		return nil, err
	}
	f.last = size + rest
	if isSTUN(p) && binary.BigEndian.Uint32(p[4:]) != magicCookie {
		return nil, fmt.Errorf("%w: no magic cookie", errFrame)
	}
	return p[:size], nil
}

// ready reports whether a whole message is buffered.
func (f *framed) ready() bool {
	left := f.in.Buffered() - f.last
	if left < channelHeader {
		return false
	}
	p, err := f.in.Peek(f.last + channelHeader)
	if err != nil {
		return false
	}
	size, rest := frameSize(p[f.last:])
	return left >= size+rest // or it is malformed, which next says
}

// frameSize returns the length of the message that begins with header, and of
// the padding behind it; a length of 0 is none.
func frameSize(header []byte) (size, padding int) {
	length := int(binary.BigEndian.Uint16(header[2:]))
	switch {
	case isSTUN(header) && length%4 == 0:
		return stunHeader + length, 0
	case header[0]&0xc0 == 0x40: // channels 0x4000 to 0x7FFF, RFC 5766 section 11
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

func (f *framed) address(netip.AddrPort) net.Addr { return f.RemoteAddr() }

// answer writes to the client. A client that does not read loses its
// connection.
func (f *framed) answer(p []byte, _ netip.AddrPort) error {
	f.SetWriteDeadline(time.Now().Add(clientPatience))
	_, err := f.Write(p)
	if err != nil {
		f.Conn.Close()
	}
	return err
}

// outbox makes one write of several messages. Not so over TLS: there are clients,
// coturn's among them, that take a record for a message.
func (f *framed) outbox(netip.AddrPort) outbox {
	if _, records := f.Conn.(interface{ ConnectionState() tls.ConnectionState }); records {
		return &oneByOne{to: f}
	}
	return &streamOutbox{to: f}
}

// oneByOne makes one write of each message.
type oneByOne struct {
	to  *framed
	out []byte
}

func (o *oneByOne) add(header, p []byte) {
	o.out = appendFrame(o.out[:0], header, p)
	o.to.answer(o.out, netip.AddrPort{}) // an error has closed the connection
}

func (o *oneByOne) flush() {}

// appendFrame appends a message with its padding (RFC 5766 section 11.5).
func appendFrame(out, header, p []byte) []byte {
	out = append(append(out, header...), p...)
	return append(out, make([]byte, -(len(header)+len(p))&3)...)
}

// streamOutbox makes one write of several messages. While it has none it holds
// no buffer.
type streamOutbox struct {
	to  *framed
	out *[]byte
}

var streamBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, streamBatch)
	return &b
}}

func (o *streamOutbox) add(header, p []byte) {
	if o.out != nil && len(*o.out)+len(header)+len(p)+3 > cap(*o.out) {
		o.flush()
	}
	if o.out == nil {
		o.out = streamBuffers.Get().(*[]byte)
	}
	*o.out = appendFrame(*o.out, header, p)
}

func (o *streamOutbox) flush() {
	if o.out == nil {
		return
	}
	o.to.answer(*o.out, netip.AddrPort{}) // an error has closed the connection
	*o.out = (*o.out)[:0]
	streamBuffers.Put(o.out)
	o.out = nil
}
