package tunnel

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestGolden pins the binary layouts. Every byte of a field differs from its neighbours.
func TestGolden(t *testing.T) {
	hello := Hello{
		Version: 1, Features: []string{"x"}, Incarnation: 1<<64 - 1, Peer: 2,
		Rank: 3, Generation: 4, LinkID: 5, Lanes: []LaneNext{{6 << 8, 7}},
	}
	submit := &Submit{
		URB: 0x0102030405060708, Flags: 0x11121314, Interval: 0x21222324, StartFrame: 0x31323334,
		Length: 5, Setup: [8]byte{0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48},
		Packets: []Packet{{Offset: 1, Length: 2}, {Offset: 3, Length: 2}}, Data: []byte("\xa1\xa2\xa3\xa4\xa5"),
	}
	complete := &Complete{
		URB: 0x0102030405060708, Status: -0x11121314, Actual: 3, StartFrame: 0x21222324, Errors: 0x31323334,
		Packets: []PacketResult{{Actual: 0x41424344, Status: 0x51525354}}, Data: []byte("\xa1\xa2\xa3"),
	}
	for name, c := range map[string]struct {
		body []byte
		want string
		back func([]byte) (any, error)
		msg  any
	}{
		"Submit": {
			submit.Encode(),
			"0102030405060708 11121314 21222324 31323334 00000005 00000002 4142434445464748" +
				"0000000100000002 0000000300000002 a1a2a3a4a5",
			func(b []byte) (any, error) { return DecodeSubmit(b) }, *submit,
		},
		"Complete": {
			complete.Encode(),
			"0102030405060708 eeedecec 00000003 21222324 31323334 00000001 4142434451525354 a1a2a3",
			func(b []byte) (any, error) { return DecodeComplete(b) }, *complete,
		},
		"Cancel": {
			Cancel{0x0102030405060708}.Encode(), "0102030405060708",
			func(b []byte) (any, error) { return DecodeCancel(b) },
			Cancel{0x0102030405060708},
		},
		"Ping": {
			Ping(0x0102030405060708).Encode(), "0102030405060708",
			func(b []byte) (any, error) { return DecodePing(b) }, Ping(0x0102030405060708),
		},
		"Ack": {
			Ack{{0x010283, 0x1112131415161718}, {1, 0x2122232425262728}}.Encode(),
			"00010283 1112131415161718 00000001 2122232425262728",
			func(b []byte) (any, error) { return DecodeAck(b) },
			Ack{{0x010283, 0x1112131415161718}, {1, 0x2122232425262728}},
		},
		"Goodbye": {
			Goodbye("né").Encode(), "6ec3a9",
			func(b []byte) (any, error) { return DecodeGoodbye(b) }, Goodbye("né"),
		},
		"Hello": {
			hello.Encode(),
			hex.EncodeToString([]byte(`{"version":1,"features":["x"],"incarnation":18446744073709551615,"peer":2,` +
				`"rank":3,"generation":4,"link":5,"lanes":[{"lane":1536,"next":7}]}`)),
			func(b []byte) (any, error) { return DecodeHello(b) },
			hello,
		},
	} {
		if want := unhex(t, c.want); !bytes.Equal(c.body, want) {
			t.Errorf("%s: wrote %x, want %x", name, c.body, want)
		}
		if got, err := c.back(c.body); err != nil || !reflect.DeepEqual(got, c.msg) {
			t.Errorf("%s: read %+v, %v, want %+v", name, got, err, c.msg)
		}
	}
}

func readerOf(b []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(b)) }

func TestFrame(t *testing.T) {
	f := Frame{Lane: 0x010283, Seq: 0x1112131415161718, Kind: KindSubmit, Body: []byte("\xa1\xa2\xa3")}
	whole := append(f.AppendHeader(nil), f.Body...)
	if want := unhex(t, "00000003 00010283 1112131415161718 20 a1a2a3"); !bytes.Equal(whole, want) {
		t.Errorf("wrote %x, want %x", whole, want)
	}
	r := bufio.NewReader(iotest.OneByteReader(bytes.NewReader(whole)))
	if got, err := ReadFrame(r); err != nil || !reflect.DeepEqual(got, f) {
		t.Errorf("read %+v, %v", got, err)
	}
	if _, err := ReadFrame(r); err != io.EOF { // io.EOF itself, between two frames
		t.Errorf("at the end: %v", err)
	}
	for n := 1; n < len(whole); n++ {
		if _, err := ReadFrame(readerOf(whole[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

func TestBodiesThatAreFreedAreReadInto(t *testing.T) {
	f := Frame{Lane: 0x010283, Seq: 1, Kind: KindSubmit, Body: bytes.Repeat([]byte{7}, 1000)}
	whole := append(f.AppendHeader(nil), f.Body...)
	for range 10 {
		got, err := ReadFrame(readerOf(whole))
		if err != nil || !bytes.Equal(got.Body, f.Body) {
			t.Fatalf("read %d bytes, %v", len(got.Body), err)
		}
		clear(got.Body)
		FreeBody(got.Body)
	}
}

func TestFrameBounds(t *testing.T) {
	for name, header := range map[string]string{
		"huge":                         "ffffffff 00000100 0000000000000001 20",
		"too long for an endpoint":     "00402025 00000100 0000000000000001 20",
		"too long for lane 1":          "00100001 00000001 0000000000000001 10",
		"no such lane":                 "00000000 00000002 0000000000000001 10",
		"a lane beyond 24 bits":        "00000000 01000100 0000000000000001 20",
		"numbered on lane 0":           "00000000 00000000 0000000000000001 02",
		"not numbered":                 "00000000 00000001 0000000000000000 10",
		"an URB on lane 1":             "00000000 00000001 0000000000000001 20",
		"a device list for a device":   "00000000 00000100 0000000000000001 10",
		"a kind that does not exist":   "00000000 00000000 0000000000000000 06",
		"the link's kind on its lanes": "00000000 00000100 0000000000000001 01",
	} {
		if _, err := ReadFrame(readerOf(unhex(t, header))); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (Frame{Lane: 2, Seq: 1, Kind: KindSubmit}).Check(); !errors.Is(err, ErrMalformed) {
		t.Errorf("a frame of no lane: %v", err)
	}
}

func TestEndpointLane(t *testing.T) {
	for _, c := range []struct {
		endpoint uint8
		want     Lane
	}{{0, 0x0100}, {0x80, 0x0100}, {0x81, 0x0181}, {0x01, 0x0101}} {
		if got := EndpointLane(1, c.endpoint); got != c.want {
			t.Errorf("endpoint %#x: lane %#x, want %#x", c.endpoint, got, c.want)
		}
	}
}

// TestCompleteInPlace checks that Seal does not copy the data that a device has read into the frame.
func TestCompleteInPlace(t *testing.T) {
	body := make([]byte, CompleteSize(2, 100))
	data := CompleteData(body, 2)
	copy(data, "hello")
	c := &Complete{URB: 1, Actual: 5, Packets: make([]PacketResult, 2), Data: data[:5]}
	sealed := c.Seal(body)
	if &sealed[0] != &body[0] {
		t.Error("the body was copied")
	}
	if got, err := DecodeComplete(sealed); err != nil || string(got.Data) != "hello" || len(got.Packets) != 2 {
		t.Errorf("read %+v, %v", got, err)
	}
}

func TestWrittenTextsAreCut(t *testing.T) {
	long := strings.Repeat("é", MaxText) + "\xff"
	if g, err := DecodeGoodbye(Goodbye(long).Encode()); err != nil || len(g) == 0 {
		t.Errorf("Goodbye: %v", err)
	}
	if _, err := DecodeDetachReply((DetachReply{Attachment: 1, Reason: long}).Encode()); err != nil {
		t.Errorf("DetachReply: %v", err)
	}
	if _, err := DecodeAttachFailure((AttachFailure{Attachment: 1, Message: long}).Encode()); err != nil {
		t.Errorf("AttachFailure: %v", err)
	}
	if _, err := DecodeAttachReply((AttachReply{Attachment: 1, Device: Device{
		ID:   "1-1",
		Name: long,
	}}).Encode()); err != nil {
		t.Errorf("AttachReply: %v", err)
	}
}

func TestDevicesFit(t *testing.T) {
	var list Devices
	for range MaxDevices + 5 {
		list.Devices = append(list.Devices, Device{
			ID: strings.Repeat("i", MaxText), Name: strings.Repeat("\x01", 300),
			Descriptors: make([]byte, MaxDescriptors),
		})
	}
	list.Devices[0].ID = ""
	body := list.Encode()
	if len(body) > MaxControl {
		t.Fatalf("%d bytes", len(body))
	}
	got, err := DecodeDevices(body)
	if err != nil || len(got.Devices) != MaxDevices || got.Devices[0].Descriptors != nil {
		t.Errorf("%d devices, %v", len(got.Devices), err)
	}
}
