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

// Bounds of the bytes of a body that are copied behind the header so that both leave in
// one Write.
const (
	maxCoalesced = 80 << 10
	maxHead      = 4 << 10 // with a PairWriter
)

// coalesced holds memory for header and body that leave in one Write.
var coalesced bufferpool.Pool

// PairWriter is a writer for which two pieces cost as much as one Write.
type PairWriter interface {
	io.Writer
	WritePair(head, body []byte) error
}

// WriteFrame writes a frame. QUIC has a high cost for each Write, which waits until
// most of the data are on their way. So header and body leave in one Write if the body
// is not large, and of a large body the beginning is copied. A [PairWriter] gets
// header and body without a copy, unless the body is small. WriteFrame asks Frame.Part
// before it writes each part.
func WriteFrame(w io.Writer, f tunnel.Frame) error {
	if err := f.Check(); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	part := f.NextPart(len(f.Body))
	if err := writeFirst(w, f, part); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	for rest := f.Body[part:]; len(rest) > 0; rest = rest[part:] {
		part = f.NextPart(len(rest))
		if _, err := w.Write(rest[:part]); err != nil {
			return fmt.Errorf("write frame: body: %w", err)
		}
	}
	return nil
}

// writeFirst writes the header and the first part of the body.
func writeFirst(w io.Writer, f tunnel.Frame, part int) error {
	pair, ok := w.(PairWriter)
	head := min(part, maxCoalesced)
	if ok {
		head = min(part, maxHead)
	}
	b := coalesced.Get(tunnel.HeaderSize + head)
	defer coalesced.Put(b)
	b = append(f.AppendHeader(b[:0]), f.Body[:head]...)
	if ok && head < part {
		return pair.WritePair(b, f.Body[head:part])
	}
	_, err := w.Write(b)
	if err == nil && head < part {
		_, err = w.Write(f.Body[head:part])
	}
	return err
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
