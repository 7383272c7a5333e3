// Package frame defines the messages between a test and the init program of a guest,
// over a virtio serial port.
//
//	guest  ---- Ready ---->  test      once, with [Facts]: the guest is up
//	guest  <--- Exec ------  test      run this; the session's number is the test's choice
//	guest  <--- Stdin -----  test      any number, the last one empty
//	guest  ---- Stdout --->  test      any number
//	guest  ---- Stderr --->  test      any number
//	guest  <--- Kill ------  test      end the program and all it started
//	guest  ---- Exit ----->  test      the session is over
//
// A frame is its type (1 byte), its session (4), the length of its payload (4)
// and the payload; numbers are big-endian.
package frame

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// Type is the first byte of a frame.
type Type byte

// The types of frames.
const (
	Ready  Type = 'r' // payload: Facts as JSON
	Exec   Type = 'X' // payload: Program as JSON
	Stdin  Type = 'I' // payload: bytes; none is end of file
	Kill   Type = 'K' // no payload
	Stdout Type = 'O' // payload: bytes
	Stderr Type = 'E' // payload: bytes
	Exit   Type = 'R' // payload: Result as JSON
)

// MaxPayload bounds the payload of a frame, in bytes.
const MaxPayload = 32 << 10

const header = 9 // bytes

// Facts describe the boot of a guest: its uptime in seconds, as the kernel prints it,
// when init started and when all devices were present.
type Facts struct{ Init, Settled string }

// Program is a command to run. Its name is looked up in the guest's PATH.
type Program struct{ Argv []string }

// Result is the end of a program: its exit status, which is 128 plus the signal number
// for a killed program, and an error if it could not be run.
type Result struct {
	Code  int
	Error string `json:",omitempty"`
}

// Frame is one message.
type Frame struct {
	Type    Type
	Session uint32
	Payload []byte
}

// Writer writes frames. It is safe for concurrent use.
type Writer struct {
	mu sync.Mutex
	w  io.Writer
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write sends p in as many frames as necessary, at least one.
func (w *Writer) Write(t Type, session uint32, p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		n := min(len(p), MaxPayload)
		b := make([]byte, header, header+n)
		b[0] = byte(t)
		binary.BigEndian.PutUint32(b[1:], session)
		binary.BigEndian.PutUint32(b[5:], uint32(n))
		if _, err := w.w.Write(append(b, p[:n]...)); err != nil {
			return err
		}
		if p = p[n:]; len(p) == 0 {
			return nil
		}
	}
}

// Read reads one frame. It returns io.EOF at the end of the stream.
func Read(r io.Reader) (Frame, error) {
	var h [header]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return Frame{}, err
	}
	n := binary.BigEndian.Uint32(h[5:])
	if n > MaxPayload {
		return Frame{}, fmt.Errorf("guest frame: payload of %d bytes, at most %d are allowed", n, MaxPayload)
	}
	f := Frame{Type: Type(h[0]), Session: binary.BigEndian.Uint32(h[1:]), Payload: make([]byte, n)}
	_, err := io.ReadFull(r, f.Payload)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return f, err
}
