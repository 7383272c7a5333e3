package tcplink

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// Whatever comes, records are read within their bounds, and what was read is
// what writing it again gives.
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
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, tunnel.ErrMalformed) {
					t.Fatalf("error %v", err)
				}
				return
			}
			if r.kind == recordFrame {
				if err := r.frame.Check(); err != nil {
					t.Fatalf("a frame was read that must not be: %v", err)
				}
			}
			if len(r.reason) > link.MaxReason {
				t.Fatalf("a reason of %d bytes", len(r.reason))
			}
		}
	})
}

func FuzzDecodeJoin(f *testing.F) {
	f.Add(join{role: roleBulk, link: [16]byte{1, 2, 3}}.encode())
	f.Add([]byte{2, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if j, err := decodeJoin(b); err == nil && !bytes.Equal(j.encode(), b) {
			t.Fatalf("%x is read as %x", b, j.encode())
		}
	})
}

// endless reads what it was given and swallows what is written.
type endless struct {
	net.Conn // nil: nothing else is called
	io.Reader
}

func (e endless) Read(b []byte) (int, error)  { return e.Reader.Read(b) }
func (e endless) Write(b []byte) (int, error) { return len(b), nil }

// Nobody passes the plain handshake without a key, whatever they send.
func FuzzPlainHandshake(f *testing.F) {
	key := newKey(f)
	f.Add([]byte(plainMagic))
	f.Add(append([]byte(plainMagic), make([]byte, helloSize+proofSize)...))
	f.Add(bytes.Repeat([]byte{9}, len(plainMagic)+2*helloSize+2*proofSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := plainAccept(endless{Reader: bytes.NewReader(b)}, key, anyone); err == nil {
			t.Fatal("accepted")
		}
		if _, _, err := plainDial(endless{Reader: bytes.NewReader(b)}, key, anyone); err == nil {
			t.Fatal("dialed")
		}
	})
}

// Nothing comes out of sealed chunks that was not sealed.
func FuzzSealedConn(f *testing.F) {
	key := bytes.Repeat([]byte{7}, keySize)
	payload := bytes.Repeat([]byte("payload "), 20)
	var sealed bytes.Buffer
	w, err := newSealedConn(sink{Writer: &sealed}, key, key)
	if err != nil {
		f.Fatal(err)
	}
	for range 2 {
		if _, err := w.Write(payload); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(sealed.Bytes())
	f.Add(sealed.Bytes()[:len(sealed.Bytes())/2])
	f.Add(append(sealed.Bytes()[sealed.Len()/2:], sealed.Bytes()[:sealed.Len()/2]...)) // swapped
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	honest := bytes.Repeat(payload, 2)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := newSealedConn(endless{Reader: bytes.NewReader(b)}, key, key)
		if err != nil {
			t.Fatal(err)
		}
		out, _ := io.ReadAll(r) // its end is the input's, or that it was broken
		if !bytes.HasPrefix(honest, out) {
			t.Fatalf("%d bytes came out that were never sealed", len(out))
		}
	})
}

// sink is a connection that is written only.
type sink struct {
	net.Conn // nil: nothing else is called
	io.Writer
}

func (s sink) Write(b []byte) (int, error) { return s.Writer.Write(b) }

// A proof is of one exchange, one role and one key.
func TestProofsDoNotTravel(t *testing.T) {
	a, b := newKey(t), newKey(t)
	run := func() (x, y *exchange) {
		x, y = must(newExchange(a)), must(newExchange(b))
		for _, err := range []error{x.agree(x.mine, y.mine, y.mine), y.agree(x.mine, y.mine, x.mine)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		return x, y
	}
	x, y := run()
	proof := must(x.prove(sideDialer))
	if err := y.verify(proof, sideDialer, a.Public()); err != nil {
		t.Fatalf("an honest proof: %v", err)
	}
	_, elsewhere := run()
	for name, err := range map[string]error{
		"in another exchange": elsewhere.verify(proof, sideDialer, a.Public()),
		"for the other role":  y.verify(proof, sideAcceptor, a.Public()),
		"for another key":     y.verify(proof, sideDialer, b.Public()),
		"cut":                 y.verify(proof[:len(proof)-1], sideDialer, a.Public()),
		"with another mac":    y.verify(append(proof[:64:64], make([]byte, 32)...), sideDialer, a.Public()),
		"without a signature": y.verify(append(make([]byte, 64), proof[64:]...), sideDialer, a.Public()),
	} {
		if !errors.Is(err, ident.ErrUntrusted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
