package tcplink

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"testing/iotest"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// FuzzReadRecord checks that records are read within their bounds.
func FuzzReadRecord(f *testing.F) {
	var framed bytes.Buffer
	if err := link.WriteFrame(&framed, linktest.Frame(tunnel.EndpointLane(1, 0x81), 7, 40)); err != nil {
		f.Fatal(err)
	}
	f.Add(framed.Bytes())
	f.Add(laneRecord(recordMove, 0x181))
	f.Add(laneRecord(recordEnd, 0x181))
	f.Add([]byte{byte(recordAlive), byte(recordAlive)})
	f.Add(closeRecord("the device was unplugged"))
	f.Add([]byte{0, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		from := bufio.NewReader(bytes.NewReader(b))
		var frames link.FrameReader
		for {
			r, err := readRecord(from, &frames)
			if err != nil {
				ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
				if !ended && !errors.Is(err, tunnel.ErrMalformed) {
					t.Fatalf("error %v", err)
				}
				return
			}
			if r.kind == recordFrame {
				if err := r.frame.Check(); err != nil {
					t.Fatalf("read a frame that breaks a bound: %v", err)
				}
			}
			if len(r.reason) > link.MaxReason {
				t.Fatalf("read a reason of %d bytes", len(r.reason))
			}
		}
	})
}

// FuzzDecodeJoin checks that encoding a decoded join message gives the same bytes.
func FuzzDecodeJoin(f *testing.F) {
	f.Add(join{role: roleBulk, link: [16]byte{1, 2, 3}}.encode())
	f.Add([]byte{2, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if j, err := decodeJoin(b); err == nil && !bytes.Equal(j.encode(), b) {
			t.Fatalf("%x is decoded as %x", b, j.encode())
		}
	})
}

// endless is a connection that reads from Reader and discards what is written.
type endless struct {
	net.Conn // nil: no other method is called
	io.Reader
}

func (e endless) Read(b []byte) (int, error)  { return e.Reader.Read(b) }
func (e endless) Write(b []byte) (int, error) { return len(b), nil }

// sink is a connection that writes to Writer.
type sink struct {
	net.Conn // nil: no other method is called
	io.Writer
}

func (s sink) Write(b []byte) (int, error) { return s.Writer.Write(b) }

// FuzzPlainHandshake checks that nobody passes the handshake of plain mode
// without a key, on either side.
func FuzzPlainHandshake(f *testing.F) {
	var peers []*security
	for _, s := range []side{sideDialer, sideAcceptor} {
		security, err := newSecurity(Plain, s, newKey(f), anyone)
		if err != nil {
			f.Fatal(err)
		}
		peers = append(peers, security)
	}
	f.Add(oldHello)
	f.Add([]byte{22, 3, 1, 0, 4, 1, 0, 0, 0})
	f.Add([]byte{21, 3, 3, 0, 2, 2, 40})
	f.Add([]byte{23, 3, 3, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, s := range peers {
			if _, _, err := s.secure(t.Context(), endless{Reader: bytes.NewReader(b)}); err == nil {
				t.Fatalf("the %s accepted %x", s.side, b)
			}
		}
	})
}

// FuzzRecordReader checks that a recordReader returns all bytes in order, and
// that none of its reads crosses the end of a TLS record.
func FuzzRecordReader(f *testing.F) {
	f.Add([]byte{22, 3, 3, 0, 2, 7, 7, 23, 3, 3, 0, 0, 23, 3, 3, 0, 1, 9}, uint8(100))
	f.Add([]byte{22, 3, 3, 1, 0, 7}, uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		ends := map[int]bool{} // the offsets of ends of records
		for at := 0; at+tlsHeaderSize <= len(b); {
			at += tlsHeaderSize + int(binary.BigEndian.Uint16(b[at+3:]))
			ends[at] = true
		}
		r := &recordReader{Conn: endless{Reader: iotest.DataErrReader(bytes.NewReader(b))}}
		buf := make([]byte, int(size)+1)
		for at := 0; ; {
			n, err := r.Read(buf)
			if !bytes.Equal(buf[:n], b[at:at+n]) {
				t.Fatalf("read %x at offset %d of %x", buf[:n], at, b)
			}
			for i := 1; i < n; i++ {
				if ends[at+i] {
					t.Fatalf("a read from %d to %d crosses the end of a record at %d", at, at+n, at+i)
				}
			}
			at += n
			if err == nil {
				continue
			}
			if !errors.Is(err, io.EOF) || at != len(b) {
				t.Fatalf("error %v at offset %d of %d", err, at, len(b))
			}
			return
		}
	})
}

// FuzzChunkConn checks that nothing is read from chunks that was not written to
// them.
func FuzzChunkConn(f *testing.F) {
	key := bytes.Repeat([]byte{7}, keySize)
	payload := bytes.Repeat([]byte("payload "), 20)
	var chunks bytes.Buffer
	w, err := newChunkConn(sink{Writer: &chunks}, key, key)
	if err != nil {
		f.Fatal(err)
	}
	for range 2 {
		if _, err := w.Write(payload); err != nil {
			f.Fatal(err)
		}
	}
	all, half := chunks.Bytes(), chunks.Len()/2
	f.Add(all)
	f.Add(all[:half])
	f.Add(append(bytes.Clone(all[half:]), all[:half]...))
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	honest := bytes.Repeat(payload, 2)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := newChunkConn(endless{Reader: bytes.NewReader(b)}, key, key)
		if err != nil {
			t.Fatal(err)
		}
		out, _ := io.ReadAll(r) // fails at the first chunk that was changed
		if !bytes.HasPrefix(honest, out) {
			t.Fatalf("read %d bytes that were never written", len(out))
		}
	})
}
