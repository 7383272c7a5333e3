package link

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/easyfind-usb/easyfind/internal/bufferpool"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// maxCoalesced bounds the bytes of a body that are copied behind the header so
// that both leave in one Write.
const maxCoalesced = 4 << 10

// coalesced holds memory for header and body that leave in one Write.
var coalesced bufferpool.Pool

// WriteFrame writes a frame. Header and body leave in one Write if the body is
// small. Of a large body only the beginning is copied. TLS and QUIC have a
// fixed cost for each Write, so the number of Writes matters. WriteFrame asks
// Frame.Part before it writes each part.
func WriteFrame(w io.Writer, f tunnel.Frame) error {
	if err := f.Check(); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	part := f.NextPart(len(f.Body))
	head := min(part, maxCoalesced)
	b := coalesced.Get(tunnel.HeaderSize + head)
	defer coalesced.Put(b)
	if _, err := w.Write(append(f.AppendHeader(b[:0]), f.Body[:head]...)); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	part -= head
	for rest := f.Body[head:]; len(rest) > 0; part = 0 {
		if part == 0 {
			part = f.NextPart(len(rest))
		}
		if _, err := w.Write(rest[:part]); err != nil {
			return fmt.Errorf("write frame: body: %w", err)
		}
		rest = rest[part:]
	}
	return nil
}

// MaxUnfinished bounds the memory that one link holds for frames that have
// arrived only in part. A peer that announces a large frame on every lane does
// not get memory for all of them.
const MaxUnfinished = 32 * tunnel.MaxFrame

// FrameReader reads the frames of one link. It may read from several streams
// concurrently and keeps them together within [MaxUnfinished].
type FrameReader struct{ unfinished atomic.Int64 }

// Read reads a frame. Its error is io.EOF if the stream ends between two
// frames. It wraps tunnel.ErrMalformed if the frame exceeds a bound.
func (r *FrameReader) Read(from *bufio.Reader) (tunnel.Frame, error) {
	length, err := from.Peek(4)
	if err != nil {
		if len(length) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return tunnel.Frame{}, err
	}
	size := min(int64(binary.BigEndian.Uint32(length)), tunnel.MaxFrame) // ReadFrame refuses a larger one
	defer r.unfinished.Add(-size)
	if r.unfinished.Add(size) > MaxUnfinished {
		return tunnel.Frame{}, fmt.Errorf("%w: more than %d bytes of unfinished frames",
			tunnel.ErrMalformed, int64(MaxUnfinished))
	}
	return tunnel.ReadFrame(from)
}
