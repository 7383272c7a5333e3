package relay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pion/stun"
)

// input is a connection that returns the bytes of a reader and then ends.
type input struct {
	net.Conn
	io.Reader
}

func (i input) Read(p []byte) (int, error)    { return i.Reader.Read(p) }
func (input) Close() error                    { return nil }
func (input) SetReadDeadline(time.Time) error { return nil }
func (input) RemoteAddr() net.Addr            { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9} }

// frames returns all messages of a stream, and how often a message was not ready.
func frames(in io.Reader) (all [][]byte, waited int, err error) {
	c := newStreamClient(input{Reader: in}, &turnSocket{})
	for {
		if !c.ready() {
			waited++
		}
		p, _, err := c.next()
		if err != nil {
			return all, waited, err
		}
		all = append(all, bytes.Clone(p))
	}
}

// FuzzFrames checks that the messages do not depend on how reads split the stream, that no message is too long, and
// that together they are what was sent.
func FuzzFrames(f *testing.F) {
	binding := message(stun.BindingRequest).Raw
	f.Add(append(append([]byte{0x40, 0, 0, 3, 1, 2, 3, 0}, binding...), binding...))
	f.Add(append([]byte{0x7f, 0xff, 0, 0}, binding[:7]...))
	f.Add([]byte{0x40, 0, 0xff, 0xfc, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		all, _, err := frames(bytes.NewReader(sent))
		slow, _, slowErr := frames(iotest.OneByteReader(bytes.NewReader(sent)))
		if len(all) != len(slow) || errors.Is(err, errFrame) != errors.Is(slowErr, errFrame) {
			t.Fatalf("at once %d messages, then %v; byte by byte %d, then %v", len(all), err, len(slow), slowErr)
		}
		at := 0
		for i, p := range all {
			if !bytes.Equal(p, slow[i]) || len(p) > maxFrame || len(p) < channelHeader {
				t.Fatalf("message %d: %x at once, %x byte by byte", i, p, slow[i])
			}
			if !bytes.Equal(p, sent[at:][:len(p)]) {
				t.Fatalf("message %d differs from what was sent", i)
			}
			at += len(p)
			if !isSTUN(p) {
				at += -len(p) & 3
			}
		}
		if at > len(sent) {
			t.Fatalf("%d bytes of %d", at, len(sent))
		}
	})
}

func FuzzFrameSize(f *testing.F) {
	f.Add([]byte{0, 1, 0, 0})
	f.Add([]byte{0x40, 0, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, header []byte) {
		if len(header) != channelHeader {
			return
		}
		size, padding := frameSize(header)
		if size < 0 || size > 1<<17 || padding < 0 || padding > 3 || size != 0 && size < channelHeader {
			t.Errorf("%x: %d and %d", header, size, padding)
		}
	})
}

func TestMessagesThatArriveTogetherAreReadWithoutWaiting(t *testing.T) {
	var sent []byte
	for n := range 5 {
		sent = append(sent, 0x40, 0, 0, 5, byte(n), 0, 0, 0, 0, 0, 0, 0)
	}
	all, waited, err := frames(bytes.NewReader(sent))
	if len(all) != 5 || waited != 2 || !errors.Is(err, io.EOF) {
		t.Errorf("%d messages, %d waits, then %v; want 5, 2 and the end", len(all), waited, err)
	}
}
