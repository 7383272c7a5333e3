package tcplink

import (
	"bufio"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

const (
	// readBufferSize suffices for a few small frames. Larger bodies are read without
	// the buffer, and so without a copy.
	readBufferSize = 4 << 10

	// maxHeld bounds the bytes that leave in one system call.
	maxHeld = 128 << 10

	// closeTimeout is the time that a close record gets to reach the kernel's
	// buffer, and that a link waits for one after a network error.
	closeTimeout = 100 * time.Millisecond
)

// rawConn is a TCP connection that counts its bytes. While watched is set, a
// Read fails if no byte arrives within link.SilenceTimeout.
type rawConn struct {
	net.Conn
	watched  atomic.Bool
	sent     atomic.Uint64
	received atomic.Uint64

	mu   sync.Mutex
	hold bool   // guarded by mu: Write only appends to held
	held []byte // guarded by mu
}

func (c *rawConn) Read(b []byte) (int, error) {
	if c.watched.Load() {
		if err := c.SetReadDeadline(time.Now().Add(link.SilenceTimeout)); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Read(b)
	c.received.Add(uint64(n))
	return n, err
}

// Write sends b, or holds it back between holdBack and flush.
func (c *rawConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.hold {
		return c.write(b)
	}
	if len(c.held)+len(b) > maxHeld {
		if err := c.writeHeld(); err != nil {
			return 0, err
		}
	}
	c.held = append(c.held, b...)
	return len(b), nil
}

// write sends b. mu must be held.
func (c *rawConn) write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.sent.Add(uint64(n))
	return n, err
}

// writeHeld sends what was held back. mu must be held.
func (c *rawConn) writeHeld() error {
	if len(c.held) == 0 {
		return nil
	}
	_, err := c.write(c.held)
	c.held = c.held[:0]
	return err
}

// holdBack makes the following writes wait for flush. TLS writes each record of 16 KiB
// by itself, and a system call costs more than a copy of the record.
func (c *rawConn) holdBack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hold = true
}

// flush sends what was held back and ends the effect of holdBack.
func (c *rawConn) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hold = false
	return c.writeHeld()
}

// half is one of the two connections of a link.
type half struct {
	raw    *rawConn
	secure net.Conn // over raw
	in     *bufio.Reader

	writing sync.Mutex // held during writes to secure
}

func newHalf(raw *rawConn, secure net.Conn) *half {
	return &half{raw: raw, secure: secure, in: bufio.NewReaderSize(secure, readBufferSize)}
}

// writeFrame writes a frame, and before it the bytes that before returns.
func (h *half) writeFrame(f tunnel.Frame, before func() []byte) error {
	h.writing.Lock()
	defer h.writing.Unlock()
	if first := before(); len(first) > 0 {
		if _, err := h.secure.Write(first); err != nil {
			return err
		}
	}
	return link.WriteFrame(h, f)
}

// Write writes b. writing must be held.
func (h *half) Write(b []byte) (int, error) {
	if err := h.WritePair(b, nil); err != nil {
		return 0, err
	}
	return len(b), nil
}

// WritePair implements [link.PairWriter]. writing must be held.
func (h *half) WritePair(head, body []byte) error {
	h.raw.holdBack()
	_, err := h.secure.Write(head)
	if err == nil && len(body) > 0 {
		_, err = h.secure.Write(body)
	}
	if failed := h.raw.flush(); err == nil {
		err = failed
	}
	return err
}

// writeRecord writes a record.
func (h *half) writeRecord(b []byte) error {
	h.writing.Lock()
	defer h.writing.Unlock()
	_, err := h.secure.Write(b)
	return err
}

// tryWriteRecord writes the bytes that build returns. If another write is in
// progress it does nothing.
func (h *half) tryWriteRecord(build func() []byte) error {
	if !h.writing.TryLock() {
		return nil
	}
	defer h.writing.Unlock()
	b := build()
	if len(b) == 0 {
		return nil
	}
	_, err := h.secure.Write(b)
	return err
}

// close writes the last record, if that takes at most closeTimeout, and closes
// the TCP connection. It does not close the TLS connection, which could block.
func (h *half) close(last []byte) {
	if last != nil && h.writing.TryLock() {
		if h.raw.SetWriteDeadline(time.Now().Add(closeTimeout)) == nil {
			_, _ = h.secure.Write(last) // without it the peer notices the closed connection
		}
		h.writing.Unlock()
	}
	_ = h.raw.Close()
}
