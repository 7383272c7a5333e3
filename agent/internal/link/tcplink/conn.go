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
	aliveEvery = 4 * time.Second
	silence    = 9 * time.Second // after which the path or the other end is dead

	readBuffer = 64 << 10
	lastWords  = 100 * time.Millisecond // to get a reason into the kernel's buffer
)

// wire is a network connection that counts its bytes. Once watched, a read
// fails when nothing comes for as long as silence.
type wire struct {
	net.Conn
	watched  atomic.Bool
	sent     atomic.Uint64
	received atomic.Uint64
}

func (w *wire) Read(b []byte) (int, error) {
	if w.watched.Load() {
		if err := w.SetReadDeadline(time.Now().Add(silence)); err != nil {
			return 0, err
		}
	}
	n, err := w.Conn.Read(b)
	w.received.Add(uint64(n))
	return n, err
}

func (w *wire) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	w.sent.Add(uint64(n))
	return n, err
}

// half is one of a link's two connections.
type half struct {
	wire   *wire    // the bytes on the network
	secure net.Conn // what is read and written, over wire
	from   *bufio.Reader

	writing sync.Mutex // held while something is written to secure
}

func newHalf(w *wire, secure net.Conn) *half {
	return &half{wire: w, secure: secure, from: bufio.NewReaderSize(secure, readBuffer)}
}

// frame writes a frame, and before it what before returns.
func (h *half) frame(f tunnel.Frame, before func() []byte) error {
	h.writing.Lock()
	defer h.writing.Unlock()
	if first := before(); len(first) > 0 {
		if _, err := h.secure.Write(first); err != nil {
			return err
		}
	}
	return link.WriteFrame(h.secure, f)
}

// record writes a record.
func (h *half) record(b []byte) error {
	h.writing.Lock()
	defer h.writing.Unlock()
	_, err := h.secure.Write(b)
	return err
}

// tryRecord writes what make returns, unless something is being written now.
func (h *half) tryRecord(build func() []byte) error {
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

// shut writes the last record if that does not take long, and closes the
// network connection: TLS's own farewell could block.
func (h *half) shut(last []byte) {
	if last != nil && h.writing.TryLock() {
		if h.wire.SetWriteDeadline(time.Now().Add(lastWords)) == nil {
			_, _ = h.secure.Write(last) // the other end learns of the end anyhow
		}
		h.writing.Unlock()
	}
	_ = h.wire.Close()
}
