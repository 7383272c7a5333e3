package link

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// together is how many bytes of a body go with its header in one Write.
const together = 4 << 10

// WriteFrame writes a frame: a small one in one Write, and of a large one's
// body no more than its beginning is copied. Over TLS and QUIC each Write has
// a price, unlike over TCP.
func WriteFrame(w io.Writer, f tunnel.Frame) error {
	if err := f.Check(); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	head := min(len(f.Body), together)
	b := f.AppendHeader(make([]byte, 0, tunnel.HeaderSize+head))
	if _, err := w.Write(append(b, f.Body[:head]...)); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	if head == len(f.Body) {
		return nil
	}
	if _, err := w.Write(f.Body[head:]); err != nil {
		return fmt.Errorf("write frame: body: %w", err)
	}
	return nil
}

// MaxUnfinished bounds the bytes that one link holds for frames of which only
// a part has come: a peer that announces a large frame on every lane does not
// get memory for all of them.
const MaxUnfinished = 32 * tunnel.MaxFrame

// FrameReader reads the frames of one link, from any number of streams at
// once, within [MaxUnfinished].
type FrameReader struct{ unfinished atomic.Int64 }

// Read reads a frame. The error is io.EOF where the stream ends between two
// frames, and wraps tunnel.ErrMalformed where a bound is exceeded.
func (r *FrameReader) Read(from *bufio.Reader) (tunnel.Frame, error) {
	length, err := from.Peek(4)
	if err != nil {
		if len(length) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return tunnel.Frame{}, err
	}
	size := min(int64(binary.BigEndian.Uint32(length)), tunnel.MaxFrame) // a larger one is refused below
	defer r.unfinished.Add(-size)
	if r.unfinished.Add(size) > MaxUnfinished {
		return tunnel.Frame{}, fmt.Errorf("%w: more than %d bytes of unfinished frames", tunnel.ErrMalformed, int64(MaxUnfinished))
	}
	return tunnel.ReadFrame(from)
}
