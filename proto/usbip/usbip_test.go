package usbip_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/proto/usbip"
)

var device = usbip.Device{
	Path: "/sys/devices/pci0000:00/usb1/1-2", BusID: "1-2", BusNum: 1, DevNum: 2, Speed: 3,
	Vendor: 0x0403, Product: 0x6001, Release: 0x0600, Class: 7, SubClass: 8, Protocol: 9,
	Configuration: 1, NumConfigurations: 2, NumInterfaces: 1,
}

// unhex decodes hexadecimal digits and ignores white space between them.
func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// submit is a CmdSubmit in the layout of the kernel's documentation. All its
// fields have different values.
const submit = `00000001 00000d05 0001000f 00000001 00000001
	00000200 00000040 ffffffff 00000000 00000004 8006000100004000`

func TestCommandsMatchTheLayout(t *testing.T) {
	cases := map[string]struct {
		wire string
		want usbip.Command
	}{
		"in": {submit, &usbip.CmdSubmit{
			Header: usbip.Header{Seq: 0xd05, DevID: 0x1000f, Direction: usbip.In, Endpoint: 1},
			Flags:  0x200, Length: 64, StartFrame: -1, Interval: 4, Setup: [8]byte{0x80, 6, 0, 1, 0, 0, 0x40, 0},
		}},
		"isochronous out": {`00000001 00000006 00010002 00000000 00000003
			00000002 00000003 00000007 00000002 00000001 0000000000000000 a1b2c3
			00000000 00000001 00000000 00000000 00000001 00000002 00000000 00000000`, &usbip.CmdSubmit{
			Header: usbip.Header{Seq: 6, DevID: 0x10002, Endpoint: 3},
			Flags:  2, Length: 3, StartFrame: 7, Interval: 1, Data: []byte{0xa1, 0xb2, 0xc3},
			Packets: []usbip.IsoPacket{{Offset: 0, Length: 1}, {Offset: 1, Length: 2}},
		}},
		"unlink": {
			`00000002 00000d06 0001000f 00000000 00000000 00000d05` + strings.Repeat("00", 24),
			&usbip.CmdUnlink{Header: usbip.Header{Seq: 0xd06, DevID: 0x1000f}, Unlink: 0xd05},
		},
	}
	for name, c := range cases {
		wire := unhex(t, c.wire)
		got, err := usbip.ReadCommand(bytes.NewReader(wire))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v", name, got, err)
			continue
		}
		if again := got.(interface{ AppendTo([]byte) []byte }).AppendTo(nil); !bytes.Equal(again, wire) {
			t.Errorf("%s: encoded again:\n%x, want\n%x", name, again, wire)
		}
	}
}

func TestRepliesRoundTrip(t *testing.T) {
	in := &usbip.CmdSubmit{Header: usbip.Header{Seq: 9, Direction: usbip.In}, Length: 8}
	iso := &usbip.CmdSubmit{
		Header: usbip.Header{Seq: 9, Direction: usbip.In}, Length: 8,
		Packets: []usbip.IsoPacket{{Offset: 0, Length: 4}, {Offset: 4, Length: 4}},
	}
	for name, c := range map[string]struct {
		cmd   *usbip.CmdSubmit
		reply usbip.Reply
	}{
		"data":   {in, &usbip.RetSubmit{Header: usbip.Header{Seq: 9}, Actual: 3, Data: []byte{1, 2, 3}}},
		"error":  {in, &usbip.RetSubmit{Header: usbip.Header{Seq: 9}, Status: -32, Data: []byte{}}},
		"unlink": {in, &usbip.RetUnlink{Header: usbip.Header{Seq: 9}, Status: -104}},
		"isochronous, with a gap": {iso, &usbip.RetSubmit{
			Header: usbip.Header{Seq: 9}, Actual: 3, ErrorCount: 1, StartFrame: 5, Data: []byte{1, 2, 0, 0, 3, 0, 0, 0},
			Packets: []usbip.IsoPacket{{0, 4, 2, 0}, {4, 4, 1, -84}},
		}},
	} {
		wire := c.reply.(interface{ AppendTo([]byte) []byte }).AppendTo(nil)
		got, err := usbip.ReadReply(bytes.NewReader(wire), func(seq uint32) *usbip.CmdSubmit { return c.cmd })
		if err != nil || !reflect.DeepEqual(got, c.reply) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.reply)
		}
	}
}

func TestOperationsRoundTrip(t *testing.T) {
	for _, want := range []usbip.Request{&usbip.ReqDevlist{}, &usbip.ReqImport{BusID: "1-2.3"}} {
		wire := want.(interface{ AppendTo([]byte) []byte }).AppendTo(nil)
		if got, err := usbip.ReadRequest(bytes.NewReader(wire)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	list := &usbip.RepDevlist{Devices: []usbip.ListedDevice{
		{Device: device, Interfaces: []usbip.InterfaceClass{{8, 6, 80}}},
	}}
	gotList, err := usbip.ReadRepDevlist(bytes.NewReader(list.AppendTo(nil)))
	if err != nil || !reflect.DeepEqual(gotList, list) {
		t.Errorf("%+v, %v; want %+v", gotList, err, list)
	}
	for _, want := range []*usbip.RepImport{{Device: device}, {Status: usbip.StatusBusy}} {
		got, err := usbip.ReadRepImport(bytes.NewReader(want.AppendTo(nil)))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	if n := len((&usbip.RepImport{Device: device}).AppendTo(nil)); n != 8+312 {
		t.Errorf("import reply of %d bytes, want 320 as in the kernel", n)
	}
}

// TestHostileMessagesAreRefused decodes messages with lengths and counts beyond
// the bounds, and replies that do not match their command.
func TestHostileMessagesAreRefused(t *testing.T) {
	patch := func(at int, v uint32) []byte {
		b := unhex(t, submit)
		binary.BigEndian.PutUint32(b[at:], v)
		return b
	}
	for name, wire := range map[string][]byte{
		"command": patch(0, 7), "direction": patch(12, 2), "endpoint": patch(16, 16),
		"length": patch(24, usbip.MaxTransfer+1), "negative length": patch(24, 0xfffffff0),
		"packets": patch(32, usbip.MaxPackets+1), "negative packets": patch(32, 0xfffffffe),
	} {
		if _, err := usbip.ReadCommand(bytes.NewReader(wire)); !errors.Is(err, usbip.ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
	cmd := &usbip.CmdSubmit{Header: usbip.Header{Seq: 1, Direction: usbip.In}, Length: 4}
	for name, c := range map[string]struct {
		cmd   *usbip.CmdSubmit
		reply usbip.RetSubmit
	}{
		"too much data": {cmd, usbip.RetSubmit{Actual: 5, Data: make([]byte, 5)}},
		"packets": {cmd, usbip.RetSubmit{
			Actual: 4, Data: make([]byte, 4), Packets: []usbip.IsoPacket{{0, 4, 4, 0}},
		}},
		"no such command": {nil, usbip.RetSubmit{}},
	} {
		wire := c.reply.AppendTo(nil)
		_, err := usbip.ReadReply(bytes.NewReader(wire), func(uint32) *usbip.CmdSubmit { return c.cmd })
		if !errors.Is(err, usbip.ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
	if _, err := usbip.ReadCommand(bytes.NewReader(unhex(t, submit)[:30])); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("truncated command: %v", err)
	}
	if _, err := usbip.ReadCommand(bytes.NewReader(nil)); err != io.EOF {
		t.Errorf("end between commands: %v", err)
	}
}

func FuzzReadCommand(f *testing.F) {
	b, _ := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(submit))
	f.Add(b)
	f.Add((&usbip.CmdUnlink{Unlink: 5}).AppendTo(nil))
	f.Add((&usbip.CmdSubmit{Length: 2, Data: []byte{1, 2}, Packets: []usbip.IsoPacket{{0, 2, 0, 0}}}).AppendTo(nil))
	f.Fuzz(func(t *testing.T, wire []byte) {
		m, err := usbip.ReadCommand(bytes.NewReader(wire))
		if err != nil {
			return
		}
		again := m.(interface{ AppendTo([]byte) []byte }).AppendTo(nil)
		m2, err := usbip.ReadCommand(bytes.NewReader(again))
		if err != nil || !reflect.DeepEqual(m, m2) {
			t.Errorf("%+v encodes to %x, which reads %+v, %v", m, again, m2, err)
		}
	})
}

func FuzzReadReply(f *testing.F) {
	f.Add((&usbip.RetSubmit{Actual: 2, Data: []byte{1, 2}}).AppendTo(nil), uint8(0))
	iso := &usbip.RetSubmit{
		Actual: 2, Data: []byte{1, 0, 2}, Packets: []usbip.IsoPacket{{0, 2, 1, 0}, {2, 2, 1, 0}},
	}
	f.Add(iso.AppendTo(nil), uint8(2))
	f.Add((&usbip.RetUnlink{Status: -104}).AppendTo(nil), uint8(0))
	f.Fuzz(func(t *testing.T, wire []byte, packets uint8) {
		cmd := &usbip.CmdSubmit{Header: usbip.Header{Direction: usbip.In}, Length: 2 * max(64, uint32(packets))}
		cmd.Buffer = make([]byte, cmd.Length)
		for i := range uint32(packets) {
			cmd.Packets = append(cmd.Packets, usbip.IsoPacket{Offset: 2 * i, Length: 2})
		}
		m, err := usbip.ReadReply(bytes.NewReader(wire), func(uint32) *usbip.CmdSubmit { return cmd })
		r, ok := m.(*usbip.RetSubmit)
		if err == nil && ok && (r.Actual > cmd.Length || len(r.Packets) != len(cmd.Packets)) {
			t.Errorf("%+v is accepted as the reply to %+v", r, cmd)
		}
	})
}

func FuzzOperations(f *testing.F) {
	f.Add((&usbip.ReqImport{BusID: "1-1"}).AppendTo(nil))
	f.Add((&usbip.ReqDevlist{}).AppendTo(nil))
	f.Add((&usbip.RepImport{Device: device}).AppendTo(nil))
	f.Add((&usbip.RepDevlist{Devices: []usbip.ListedDevice{{Device: device}}}).AppendTo(nil))
	f.Fuzz(func(t *testing.T, wire []byte) {
		if m, err := usbip.ReadRequest(bytes.NewReader(wire)); err == nil && m == nil {
			t.Error("no request and no error")
		}
		m, err := usbip.ReadRepImport(bytes.NewReader(wire))
		if err == nil && m.Status == usbip.StatusOK && len(m.Device.BusID) > 31 {
			t.Errorf("bus ID %q", m.Device.BusID)
		}
		if m, err := usbip.ReadRepDevlist(bytes.NewReader(wire)); err == nil && len(m.Devices) > usbip.MaxDevices {
			t.Errorf("%d devices", len(m.Devices))
		}
	})
}
