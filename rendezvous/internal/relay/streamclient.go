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

// Bounds of a TCP or TLS connection of a client.
const (
	maxFrame          = 1599             // bytes of one message; the TURN server takes less than 1600
	frameBuffer       = 8 << 10          // bytes: a few messages in one read
	firstFrameTimeout = 10 * time.Second // until the first message is complete
	idleTimeout       = 30 * time.Second // between two messages while there is no allocation
	useTimeout        = 6 * time.Minute  // between two messages otherwise; clients renew permissions every 5 minutes
	frameTimeout      = 10 * time.Second // from the first byte of a message to its last
	writeTimeout      = 5 * time.Second  // of one write to a client
	streamBatch       = 64 << 10         // bytes that are collected for one write
)

var errFrame = errors.New("neither a STUN message nor channel data of a possible length")

// streamClient is the client of a TCP or TLS connection. It splits the stream into messages (RFC 5766 section 2.1) of
// at most maxFrame bytes, each of which must arrive in time.
type streamClient struct {
	net.Conn
	in    *bufio.Reader
	turn  *turnSocket
	from  netip.AddrPort
	last  int  // bytes of the message that next returned, with its padding
	begun bool // a message was complete
}

func newStreamClient(conn net.Conn, t *turnSocket) *streamClient {
	from, _ := addrPort(conn.RemoteAddr())
	return &streamClient{Conn: conn, in: bufio.NewReaderSize(conn, frameBuffer), turn: t, from: from}
}

// next returns the next message. If it fails, it closes the connection.
func (c *streamClient) next() ([]byte, netip.AddrPort, error) {
	p, err := c.read()
	if err != nil {
		c.Conn.Close()
		return nil, netip.AddrPort{}, err
	}
	c.begun = true
	return p, c.from, nil
}

func (c *streamClient) read() ([]byte, error) {
	c.in.Discard(c.last) // these bytes are buffered
	c.last = 0
	if c.in.Buffered() < channelHeader {
		c.SetReadDeadline(time.Now().Add(c.readTimeout()))
	}
	header, err := c.in.Peek(channelHeader)
	if err != nil {
		return nil, err
	}
	size, padding := frameSize(header)
	if size < channelHeader || size+padding > maxFrame {
		return nil, fmt.Errorf("%w: %x", errFrame, header)
	}
	if c.begun && c.in.Buffered() < size+padding {
		c.SetReadDeadline(time.Now().Add(frameTimeout))
	}
	p, err := c.in.Peek(size + padding)
	if err != nil {
		return nil, err
	}
	c.last = size + padding
	if isSTUN(p) && binary.BigEndian.Uint32(p[4:]) != magicCookie {
		return nil, fmt.Errorf("%w: no magic cookie", errFrame)
	}
	return p[:size], nil
}

// ready reports whether a whole message is buffered.
func (c *streamClient) ready() bool {
	left := c.in.Buffered() - c.last
	if left < channelHeader {
		return false
	}
	p, err := c.in.Peek(c.last + channelHeader)
	if err != nil {
		return false
	}
	size, padding := frameSize(p[c.last:])
	return left >= size+padding // also if the message is malformed, for which next returns an error
}

// frameSize returns the length of the message that begins with header, and the length of the padding after it. The size
// is 0 if header begins no message.
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

func (c *streamClient) readTimeout() time.Duration {
	switch {
	case !c.begun:
		return firstFrameTimeout
	case !c.turn.inUse():
		return idleTimeout
	}
	return useTimeout
}

func (c *streamClient) address(netip.AddrPort) net.Addr { return c.RemoteAddr() }

// answer writes to the client. It closes the connection if the client does not read.
func (c *streamClient) answer(p []byte, _ netip.AddrPort) error {
	c.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := c.Write(p)
	if err != nil {
		c.Conn.Close()
	}
	return err
}

// outbox returns a queue that writes several messages at once. Over TLS it writes each on its own, because some
// clients, such as coturn's, take a TLS record for a message.
func (c *streamClient) outbox(netip.AddrPort) outbox {
	if _, records := c.Conn.(interface{ ConnectionState() tls.ConnectionState }); records {
		return &recordOutbox{to: c}
	}
	return &streamOutbox{to: c}
}

// recordOutbox makes one write of each message.
type recordOutbox struct {
	to  *streamClient
	out []byte
}

func (o *recordOutbox) add(header, payload []byte) {
	o.out = appendFrame(o.out[:0], header, payload)
	o.to.answer(o.out, netip.AddrPort{}) // an error has closed the connection
}

func (o *recordOutbox) flush() {}

// appendFrame appends a message with its padding (RFC 5766 section 11.5).
func appendFrame(out, header, payload []byte) []byte {
	out = append(append(out, header...), payload...)
	return append(out, make([]byte, -(len(header)+len(payload))&3)...)
}

// streamOutbox makes one write of several messages. It holds no buffer while it is empty.
type streamOutbox struct {
	to  *streamClient
	out *[]byte
}

var streamBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, streamBatch)
	return &b
}}

func (o *streamOutbox) add(header, payload []byte) {
	if o.out != nil && len(*o.out)+len(header)+len(payload)+3 > cap(*o.out) {
		o.flush()
	}
	if o.out == nil {
		o.out = streamBuffers.Get().(*[]byte)
	}
	*o.out = appendFrame(*o.out, header, payload)
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
