package cluster

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

type frame interface{ frame() []byte }

// golden holds one frame of each kind and its bytes.
var golden = []struct {
	frame frame
	bytes string
}{
	{
		hello{wanted: 0x0102030405060708, own: 0x1112131415161718, name: "ab"},
		"00000013 01 0102030405060708 1112131415161718 6162",
	},
	{
		forward{id: 0x01020304, from: ident.PeerID{0xa1}, to: ident.PeerID{0xb1}, body: []byte{0xcc}},
		"00000046 02 01020304 a1" + strings.Repeat("00", 31) + " b1" + strings.Repeat("00", 31) + " cc",
	},
	{result{id: 0x01020304, code: signal.FailureBusy}, "00000006 03 01020304 03"},
	{
		moves{
			{Peer: ident.PeerID{0xa1}, Since: time.UnixMilli(0x0102).UTC()},
			{Peer: ident.PeerID{0xb1}, Since: time.UnixMilli(0x0304).UTC()},
		},
		"00000051 04 a1" + strings.Repeat("00", 31) + " 0000000000000102" +
			" b1" + strings.Repeat("00", 31) + " 0000000000000304",
	},
	{ping{}, "00000001 05"},
	{pong{}, "00000001 06"},
}

func TestFramesHaveDocumentedBytes(t *testing.T) {
	for _, c := range golden {
		want, err := hex.DecodeString(strings.ReplaceAll(c.bytes, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.frame.frame(); !bytes.Equal(got, want) {
			t.Errorf("%#v\n is %x\nwant %x", c.frame, got, want)
		}
		if got, err := readFrame(bytes.NewReader(want)); err != nil || !reflect.DeepEqual(got, c.frame) {
			t.Errorf("%x\n is %#v, %v", want, got, err)
		}
	}
}

func TestMalformedFramesAreRefused(t *testing.T) {
	for name, raw := range map[string][]byte{
		"too long":         {0xff, 0xff, 0xff, 0xff, 2},
		"empty":            {0, 0, 0, 0, 2},
		"unknown kind":     {0, 0, 0, 1, 9},
		"short hello":      append([]byte{0, 0, 0, 17, 1}, make([]byte, 16)...),
		"long name":        hello{name: strings.Repeat("x", maxName+1)}.frame(),
		"short forward":    {0, 0, 0, 2, 2, 0},
		"empty moved":      {0, 0, 0, 1, 4},
		"truncated moved":  append([]byte{0, 0, 0, 40, 4}, make([]byte, 39)...),
		"long moved":       moves(make([]presence.Connection, maxMoved+1)).frame(),
		"ping with a body": {0, 0, 0, 2, 5, 0},
		"long result":      append([]byte{0, 0, 0, 7, 3}, make([]byte, 6)...),
	} {
		if _, err := readFrame(bytes.NewReader(raw)); !errors.Is(err, errFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzDecode checks that every decoded frame encodes to the same bytes.
func FuzzDecode(f *testing.F) {
	for _, c := range golden {
		raw := c.frame.frame()
		f.Add(raw[4], raw[5:])
	}
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		m, err := decode(kind, body)
		if err != nil {
			return
		}
		if again := m.(frame).frame(); again[4] != kind || !bytes.Equal(again[5:], body) {
			t.Errorf("%#v\n from %x\n to   %x", m, body, again[5:])
		}
	})
}
