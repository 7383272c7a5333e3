package signal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// counting returns n bytes that count up from a value.
func counting(n int, from byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

var (
	golden  = time.UnixMilli(0x0102030405060)
	peerA   = ident.PeerID(counting(32, 0x40))
	peerHex = "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f"
)

// fromRendezvous lists messages of a rendezvous and their frames.
var fromRendezvous = []struct {
	message FromRendezvous
	frame   string
}{
	{
		Challenge{Nonce: [32]byte(counting(32, 0)), Time: golden},
		"00000029 01 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f 0000102030405060",
	},
	{Welcome{Idle: 90 * time.Second}, "00000003 02 005a"},
	{Pong{Token: [8]byte(counting(8, 1))}, "00000009 03 0102030405060708"},
	{Sent{ID: 0x01020304}, "00000005 04 01020304"},
	{SendFailed{ID: 0x01020304, Code: FailureRate}, "00000006 05 01020304 04"},
	{Deliver{Number: 0x01020304, From: peerA, Body: []byte{0xaa, 0xbb}}, "00000027 06 01020304 " + peerHex + " aabb"},
	{Bye{Code: ByeRevoked, Text: "é"}, "00000004 07 03 c3a9"},
	{Features(0x0102030405060708), "00000009 08 0102030405060708"},
	{Move{}, "00000001 09"},
}

// fromPeer lists messages of a peer and their frames.
var fromPeer = []struct {
	message FromPeer
	frame   string
}{
	{
		Hello{Public: [32]byte(counting(32, 0x40)), Expiry: golden, Signature: [64]byte(counting(64, 0x80))},
		"00000069 10 " + peerHex + " 0000102030405060 " + hex.EncodeToString(counting(64, 0x80)),
	},
	{Ping{Token: [8]byte(counting(8, 1))}, "00000009 11 0102030405060708"},
	{Send{ID: 0x01020304, To: peerA, Body: []byte{0xaa, 0xbb}}, "00000027 12 01020304 " + peerHex + " aabb"},
	{Got{Number: 0x01020304}, "00000005 13 01020304"},
	{
		LinkReport{Peer: peerA, Kind: LinkRelayed, Transport: TransportTCP, RTT: 0x0102 * time.Millisecond},
		"00000025 14 " + peerHex + " 03 02 0102",
	},
	{LinkReport{Peer: peerA}, "00000025 14 " + peerHex + " 00 00 0000"},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFramesOfRendezvousAreGolden(t *testing.T) {
	for _, c := range fromRendezvous {
		want := unhex(t, c.frame)
		if got := AppendFromRendezvous(nil, c.message); !bytes.Equal(got, want) {
			t.Errorf("%#v\n is %x\nwant %x", c.message, got, want)
		}
		got, err := NewReader(bytes.NewReader(want)).FromRendezvous()
		if err != nil || !reflect.DeepEqual(got, c.message) {
			t.Errorf("%x\n  is %#v, %v\nwant %#v", want, got, err, c.message)
		}
	}
}

func TestFramesOfPeerAreGolden(t *testing.T) {
	for _, c := range fromPeer {
		want := unhex(t, c.frame)
		if got := AppendFromPeer(nil, c.message); !bytes.Equal(got, want) {
			t.Errorf("%#v\n is %x\nwant %x", c.message, got, want)
		}
		got, err := NewReader(bytes.NewReader(want)).FromPeer()
		if err != nil || !reflect.DeepEqual(got, c.message) {
			t.Errorf("%x\n  is %#v, %v\nwant %#v", want, got, err, c.message)
		}
	}
}

func TestReaderRefusesViolations(t *testing.T) {
	for name, c := range map[string]struct {
		frame string
		want  error
	}{
		"no kind":                             {"00000000 11", ErrFrameSize},
		"a length beyond the bound":           {"ffffffff 12", ErrFrameSize},
		"a large first frame":                 {"00000200 12", ErrFrameSize},
		"a kind that only a rendezvous sends": {"00000009 03 0102030405060708", ErrKind},
		"an unknown kind":                     {"00000001 ff", ErrKind},
		"a body that is too short":            {"00000008 11 01020304050607", ErrBody},
		"a body that is too long":             {"00000006 13 0102030405", ErrBody},
		"a link of an unknown kind":           {"00000025 14 " + peerHex + " 04 01 0000", ErrBody},
		"an unknown transport":                {"00000025 14 " + peerHex + " 01 04 0000", ErrBody},
		"an ended link with a transport":      {"00000025 14 " + peerHex + " 00 01 0000", ErrBody},
		"a link without a transport":          {"00000025 14 " + peerHex + " 02 00 0000", ErrBody},
		"an ended link with an RTT":           {"00000025 14 " + peerHex + " 00 00 0001", ErrBody},
		"half a header":                       {"0000", io.ErrUnexpectedEOF},
		"half a body":                         {"00000009 11 01", io.ErrUnexpectedEOF},
		"nothing":                             {"", io.EOF},
	} {
		if _, err := NewReader(bytes.NewReader(unhex(t, c.frame))).FromPeer(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestReaderAcceptsLargeBodiesAfterGreeting(t *testing.T) {
	for size, ok := range map[int]bool{MaxBody: true, MaxBody + 1: false} {
		r := NewReader(bytes.NewReader(AppendFromPeer(nil, Send{Body: make([]byte, size)})))
		r.Greeted()
		if _, err := r.FromPeer(); (err == nil) != ok {
			t.Errorf("Send of %d bytes: %v", size, err)
		}
	}
}

func TestByeTruncatesItsTextAtACharacter(t *testing.T) {
	frame := AppendFromRendezvous(nil, Bye{Code: ByeIdle, Text: "a" + strings.Repeat("é", MaxText)})
	r := NewReader(bytes.NewReader(frame))
	r.Greeted()
	m, err := r.FromRendezvous()
	if err != nil {
		t.Fatal(err)
	}
	if bye := m.(Bye); len(bye.Text) != MaxText-1 {
		t.Errorf("text of %d bytes, want %d", len(bye.Text), MaxText-1)
	}
}

// fuzzRendezvous decodes bodies of one kind of message of a rendezvous. A decoded message must encode to the same
// bytes.
func fuzzRendezvous(f *testing.F, kind Kind) {
	for _, c := range fromRendezvous {
		f.Add(AppendFromRendezvous(nil, c.message)[headerSize+1:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := decodeFromRendezvous(kind, body)
		if err != nil {
			return
		}
		if again := AppendFromRendezvous(nil, m)[headerSize+1:]; !bytes.Equal(again, body) {
			t.Errorf("%#v\n from %x\n gives %x", m, body, again)
		}
	})
}

// fuzzPeer does the same as fuzzRendezvous for messages of a peer.
func fuzzPeer(f *testing.F, kind Kind) {
	for _, c := range fromPeer {
		f.Add(AppendFromPeer(nil, c.message)[headerSize+1:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := decodeFromPeer(kind, body)
		if err != nil {
			return
		}
		if again := AppendFromPeer(nil, m)[headerSize+1:]; !bytes.Equal(again, body) {
			t.Errorf("%#v\n from %x\n gives %x", m, body, again)
		}
	})
}

func FuzzChallenge(f *testing.F)  { fuzzRendezvous(f, KindChallenge) }
func FuzzWelcome(f *testing.F)    { fuzzRendezvous(f, KindWelcome) }
func FuzzPong(f *testing.F)       { fuzzRendezvous(f, KindPong) }
func FuzzSent(f *testing.F)       { fuzzRendezvous(f, KindSent) }
func FuzzFailed(f *testing.F)     { fuzzRendezvous(f, KindFailed) }
func FuzzDeliver(f *testing.F)    { fuzzRendezvous(f, KindDeliver) }
func FuzzBye(f *testing.F)        { fuzzRendezvous(f, KindBye) }
func FuzzFeatures(f *testing.F)   { fuzzRendezvous(f, KindFeatures) }
func FuzzHello(f *testing.F)      { fuzzPeer(f, KindHello) }
func FuzzPing(f *testing.F)       { fuzzPeer(f, KindPing) }
func FuzzSend(f *testing.F)       { fuzzPeer(f, KindSend) }
func FuzzGot(f *testing.F)        { fuzzPeer(f, KindGot) }
func FuzzLinkReport(f *testing.F) { fuzzPeer(f, KindLinkReport) }

// FuzzReader reads a stream. The reader must return an error in the end, and not panic.
func FuzzReader(f *testing.F) {
	for _, c := range fromPeer {
		f.Add(AppendFromPeer(nil, c.message))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := NewReader(bytes.NewReader(stream))
		r.Greeted()
		for {
			if _, err := r.FromPeer(); err != nil {
				return
			}
		}
	})
}
