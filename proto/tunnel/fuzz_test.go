package tunnel

import (
	"bufio"
	"bytes"
	"reflect"
	"testing"
)

// fuzz checks that a message that decode accepts is the same after encode and decode.
func fuzz[M any](f *testing.F, decode func([]byte) (M, error), encode func(M) []byte, seeds ...[]byte) {
	for _, s := range seeds {
		f.Add(s)
		f.Add(s[:len(s)-1])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := decode(bytes.Clone(body))
		if err != nil {
			return
		}
		again, err := decode(encode(m))
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%+v became %+v, %v", m, again, err)
		}
	})
}

func FuzzReadFrame(f *testing.F) {
	decode := func(b []byte) (Frame, error) { return ReadFrame(bufio.NewReader(bytes.NewReader(b))) }
	encode := func(m Frame) []byte { return append(m.AppendHeader(nil), m.Body...) }
	fuzz(f, decode, encode,
		encode(Frame{Kind: KindPing, Body: make([]byte, 8)}),
		encode(Frame{Lane: 0x0281, Seq: 3, Kind: KindCancel, Body: make([]byte, 8)}))
}

func FuzzHello(f *testing.F) {
	// JSON has one form for an empty list and for none. So this test and those below compare texts.
	decode := func(b []byte) (string, error) {
		h, err := DecodeHello(b)
		return string(h.Encode()), err
	}
	fuzz(f, decode, func(s string) []byte { return []byte(s) },
		Hello{
			Version: Version, Incarnation: 1, Peer: 2, Rank: 80, Generation: 3, LinkID: 4, Lanes: []LaneNext{{1, 2}},
		}.Encode(),
		[]byte(`{"version":2,"lanes":"otherwise"}`))
}

func FuzzPing(f *testing.F) { fuzz(f, DecodePing, Ping.Encode, Ping(7).Encode()) }

func FuzzAck(f *testing.F) { fuzz(f, DecodeAck, Ack.Encode, Ack{{1, 2}, {0x0181, 9}}.Encode()) }

func FuzzGoodbye(f *testing.F) {
	fuzz(f, DecodeGoodbye, Goodbye.Encode, GoodbyeStopping.Encode())
}

func FuzzDevices(f *testing.F) {
	decode := func(b []byte) (string, error) {
		d, err := DecodeDevices(b)
		return string(d.Encode()), err
	}
	fuzz(f, decode, func(s string) []byte { return []byte(s) },
		Devices{[]Device{
			{ID: "1-1", Name: "disk", Interfaces: []Interface{{Class: 8}}, Descriptors: []byte{18, 1}},
		}}.Encode())
}

func FuzzAttach(f *testing.F) {
	decode := func(b []byte) (string, error) {
		a, err := DecodeAttach(b)
		return string(a.Encode()), err
	}
	fuzz(f, decode, func(s string) []byte { return []byte(s) },
		Attach{Attachment: 1, Device: "1-1", Expect: make([]byte, 32)}.Encode())
}

func FuzzAttachReply(f *testing.F) {
	decode := func(b []byte) (string, error) {
		a, err := DecodeAttachReply(b)
		return string(a.Encode()), err
	}
	fuzz(f, decode, func(s string) []byte { return []byte(s) }, AttachReply{
		Attachment: 1,
		Device:     Device{ID: "1-1"},
	}.Encode())
}

func FuzzAttachFailure(f *testing.F) {
	fuzz(f, DecodeAttachFailure, AttachFailure.Encode, AttachFailure{1, CodeInUse, "sda1 is mounted"}.Encode())
}

func FuzzDetach(f *testing.F) { fuzz(f, DecodeDetach, Detach.Encode, Detach{1}.Encode()) }

func FuzzDetachReply(f *testing.F) {
	fuzz(f, DecodeDetachReply, DetachReply.Encode, DetachReply{1, CodeUnplugged, "it is gone"}.Encode())
}

func FuzzSubmit(f *testing.F) {
	fuzz(f, DecodeSubmit, func(m Submit) []byte { return m.Encode() },
		(&Submit{URB: 1, Length: 3, Data: []byte("abc")}).Encode(),
		(&Submit{URB: 2, Length: 30, Packets: []Packet{{0, 10}, {10, 20}}}).Encode())
}

func FuzzCancel(f *testing.F) { fuzz(f, DecodeCancel, Cancel.Encode, Cancel{1}.Encode()) }

func FuzzComplete(f *testing.F) {
	fuzz(f, DecodeComplete, func(m Complete) []byte { return m.Encode() },
		(&Complete{URB: 1, Actual: 3, Data: []byte("abc")}).Encode(),
		(&Complete{URB: 2, Status: -18, Errors: 1, Packets: []PacketResult{{0, -84}, {7, 0}}}).Encode())
}

func FuzzDecodeFrame(f *testing.F) {
	encode := func(m Frame) []byte { return append(m.AppendHeader(nil), m.Body...) }
	fuzz(f, DecodeFrame, encode, encode(Frame{Lane: 0x0281, Kind: KindShard, Body: make([]byte, 16)}),
		encode(Frame{Lane: 0x0281, Seq: 3, Kind: KindCancel, Body: make([]byte, 8)}))
}

func FuzzShard(f *testing.F) {
	fuzz(f, DecodeShard, Shard.Encode, Shard{
		Stream: 1, Block: 2, Length: 5, Index: 2, Data: 2, Parity: 1, Bytes: []byte("abc"),
	}.Encode())
}

func FuzzCopy(f *testing.F) {
	fuzz(f, DecodeCopy, Copy.Encode, Copy{Seq: 7, Kind: KindComplete, Body: []byte{1, 2, 3}}.Encode())
}

func FuzzIsoBlock(f *testing.F) {
	fuzz(f, DecodeIsoBlock, IsoBlock.Encode, IsoBlock{
		First: 9, Packets: []IsoPacket{{Data: []byte("abc")}, {Status: -84, Data: []byte{}}, {Data: []byte("de")}},
	}.Encode())
}

func FuzzIsoReport(f *testing.F) {
	// Bits of flags without a meaning are lost.
	decode := func(b []byte) (string, error) {
		r, err := DecodeIsoReport(b)
		return string(r.Encode()), err
	}
	fuzz(f, decode, func(s string) []byte { return []byte(s) }, IsoReport{
		Stream: 1, Stop: true, Room: 192, Interval: 8, Elapsed: 5, Margin: -3, Loss: 655, Late: 1, Lost: 2,
		Recovered: 3, Errors: 4,
	}.Encode())
}
