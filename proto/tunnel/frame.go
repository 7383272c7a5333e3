package tunnel

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/easyfind-usb/easyfind/internal/bufferpool"
)

// Version is the version of the protocol. Both Hellos of a link must have the same one.
const Version = 1

// Bounds. The decoders check them before they allocate memory.
const (
	MaxTransfer    = 4 << 20 // bytes of data of one URB
	MaxIsoPackets  = 1024    // of one URB
	MaxFrame       = MaxTransfer + MaxIsoPackets*isoPacketSize + urbHeaderSize
	MaxControl     = 1 << 20  // bytes of a frame on lanes 0 and 1
	MaxLanes       = 4096     // of one session, both directions together
	MaxAttachments = 64       // of one session and direction
	MaxInFlight    = 512      // URBs of one attachment
	MaxInFlightSum = 32 << 20 // sum of their Submit.Cost
	MaxDevices     = 256      // in one list
)

const (
	isoPacketSize = 8
	urbHeaderSize = 36 // the longer one of the headers of Submit and Complete
)

// Lane is the number of an ordered sequence of frames; see the package comment.
type Lane uint32

// The lanes that belong to no endpoint.
const (
	LaneLink    Lane = 0
	LaneSession Lane = 1
)

// EndpointLane returns the lane of an endpoint address of an attachment.
func EndpointLane(attachment uint16, endpoint uint8) Lane {
	if endpoint&0x0f == 0 {
		endpoint = 0
	}
	return Lane(attachment)<<8 | Lane(endpoint)
}

// Attachment returns the number of the attachment that the lane belongs to, 0 for lanes 0 and 1.
func (l Lane) Attachment() uint16 { return uint16(l >> 8) }

// Endpoint returns the endpoint address that the lane belongs to.
func (l Lane) Endpoint() uint8 { return uint8(l) }

// Limit returns the longest body of a frame on the lane, in bytes.
func (l Lane) Limit() int {
	if l <= LaneSession {
		return MaxControl
	}
	return MaxFrame
}

// valid reports whether the lane exists: 0, 1, or an attachment's endpoint.
func (l Lane) valid() bool {
	return l <= LaneSession || l.Attachment() != 0 && l>>24 == 0
}

// Kind is the type of message that a frame's body holds.
type Kind uint8

// The kinds. L, S and E are the lanes that they travel on: the link's, the session's, an endpoint's. C and H are
// their senders: the client or the host. Without either, both send them.
const (
	KindHello   Kind = 1 // L    JSON Hello
	KindPing    Kind = 2 // L    8 bytes, opaque
	KindPong    Kind = 3 // L    the Ping's 8 bytes
	KindAck     Kind = 4 // L    n × { lane 4, next 8 }
	KindGoodbye Kind = 5 // L    UTF-8 reason, at most 256 bytes

	KindDevices      Kind = 16 // S H  JSON Devices: the whole list, after each change
	KindAttach       Kind = 17 // S C  JSON Attach
	KindAttached     Kind = 18 // S H  JSON AttachReply
	KindAttachFailed Kind = 19 // S H  JSON AttachFailure
	KindDetach       Kind = 20 // S C  JSON Detach
	KindDetached     Kind = 21 // S H  JSON DetachReply

	KindSubmit   Kind = 32 // E C  Submit, see its type
	KindCancel   Kind = 33 // E C  { urb 8 }
	KindComplete Kind = 34 // E H  Complete, see its type

	KindShard     Kind = 48 // E    Shard, see its type; lossy
	KindIsoReport Kind = 49 // E    IsoReport, see its type; lossy
	KindCopy      Kind = 50 // E    Copy, see its type; lossy
)

// Lossy reports whether frames of the kind may be lost, overtake others, or arrive twice. They have no number and are
// never sent again.
func (k Kind) Lossy() bool { return k >= KindShard && k <= KindCopy }

// travels reports whether frames of the kind may be sent on the lane.
func (k Kind) travels(l Lane) bool {
	switch l {
	case LaneLink:
		return k >= KindHello && k <= KindGoodbye
	case LaneSession:
		return k >= KindDevices && k <= KindDetached
	}
	return k >= KindSubmit && k <= KindComplete || k.Lossy() && l.Endpoint()&0x0f != 0
}

// Frame is the unit that links carry. On the wire, big-endian:
//
//	length 4 (of the body) │ lane 4 │ seq 8 │ kind 1 │ body
//
// The receiver of a frame owns its body. A link that sends a frame does not keep the body after Send returns.
type Frame struct {
	Lane Lane
	Seq  uint64 // from 1; 0 on LaneLink and in lossy frames
	Kind Kind
	Body []byte

	// The sending link uses the fields below. They are not sent.

	Class Class // of the lane
	// Part is called before each part of the body is written, with the number of bytes that are left. It waits while
	// more urgent lanes write, and returns the length of the part, which is not 0 unless left is. Nil: the body is one
	// part.
	Part func(left int) int
}

// NextPart returns the length of the next part of the body that may be written now; see Part.
func (f Frame) NextPart(left int) int {
	if f.Part == nil {
		return left
	}
	return f.Part(left)
}

// HeaderSize is the length of a frame without its body, in bytes.
const HeaderSize = 17

// ErrMalformed is wrapped by the errors for messages that break the protocol: a length out of bounds, a field that
// does not fit the others.
var ErrMalformed = errors.New("the peer breaks the tunnel protocol")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// Check returns an error that wraps ErrMalformed unless lane and kind fit each other, the body is within the lane's
// limit, and the frame has a number, unless it is of lane 0 or lossy. It does not look into the body.
func (f Frame) Check() error { return f.check(len(f.Body)) }

func (f Frame) check(body int) error {
	switch {
	case !f.Lane.valid():
		return malformed("no such lane: %#x", uint32(f.Lane))
	case !f.Kind.travels(f.Lane):
		return malformed("kind %d does not travel on lane %#x", f.Kind, uint32(f.Lane))
	case body > f.Lane.Limit():
		return malformed("%d bytes on lane %#x, at most %d", body, uint32(f.Lane), f.Lane.Limit())
	case f.Kind.Lossy() && body > MaxLossy:
		return malformed("%d bytes in a frame of kind %d, at most %d", body, f.Kind, MaxLossy)
	case (f.Seq == 0) != (f.Lane == LaneLink || f.Kind.Lossy()):
		return malformed("number %d on lane %#x", f.Seq, uint32(f.Lane))
	}
	return nil
}

// AppendHeader appends the frame without its body, which follows it on the wire.
func (f Frame) AppendHeader(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.Body)))
	b = binary.BigEndian.AppendUint32(b, uint32(f.Lane))
	b = binary.BigEndian.AppendUint64(b, f.Seq)
	return append(b, byte(f.Kind))
}

// DecodeFrame reads a datagram, which holds one frame. The body is a part of b.
func DecodeFrame(b []byte) (Frame, error) {
	if len(b) < HeaderSize || int(binary.BigEndian.Uint32(b)) != len(b)-HeaderSize {
		return Frame{}, malformed("a datagram of %d bytes", len(b))
	}
	f := Frame{
		Lane: Lane(binary.BigEndian.Uint32(b[4:])),
		Seq:  binary.BigEndian.Uint64(b[8:]),
		Kind: Kind(b[16]),
		Body: b[HeaderSize:],
	}
	return f, f.Check()
}

// ReadFrame reads one frame. Its body belongs to the caller, which may return it with [FreeBody]. The error is
// io.EOF itself if r ends between two frames, and wraps ErrMalformed if the header breaks the protocol; ReadFrame
// allocates nothing for the body then.
func ReadFrame(r *bufio.Reader) (Frame, error) {
	h, err := r.Peek(HeaderSize)
	if err != nil {
		if errors.Is(err, io.EOF) {
			if len(h) == 0 {
				return Frame{}, io.EOF
			}
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, fmt.Errorf("read frame: %w", err)
	}
	f := Frame{
		Lane: Lane(binary.BigEndian.Uint32(h[4:])),
		Seq:  binary.BigEndian.Uint64(h[8:]),
		Kind: Kind(h[16]),
	}
	size := binary.BigEndian.Uint32(h)
	if size > MaxFrame {
		return Frame{}, fmt.Errorf("read frame: %w", malformed("a body of %d bytes", size))
	}
	if err := f.check(int(size)); err != nil {
		return Frame{}, fmt.Errorf("read frame: %w", err)
	}
	_, _ = r.Discard(HeaderSize) // never fails: they are buffered
	f.Body = received.Get(int(size))
	if _, err := io.ReadFull(r, f.Body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, fmt.Errorf("read frame: body: %w", err)
	}
	return f, nil
}

// received holds the bodies of frames that ReadFrame returned and FreeBody took back.
var received bufferpool.Pool

// FreeBody lets ReadFrame use the body of a frame again. The receiver of a frame may call it once it no longer
// needs the body; a body that is never freed is collected as garbage.
func FreeBody(body []byte) { received.Put(body) }
