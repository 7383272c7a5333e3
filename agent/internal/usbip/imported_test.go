package usbip_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
	wire "github.com/easyfind-usb/easyfind/proto/usbip"
)

// soundCard holds the descriptors of a full-speed device: isochronous endpoints 0x81
// and 0x02 in alternate setting 1 of interface 0, an interrupt endpoint 0x83 with
// bInterval 10 in interface 1.
const soundCard = "12010002000000403412785600010000 0001" +
	"0902 3b00 0201 0080 32" + "0904 0000 00 010200 00" +
	"0904 0001 02 010200 00" + "0705 8101 c000 01" + "0705 0201 c000 01" +
	"0904 0100 01 030000 00" + "0705 8303 0800 0a"

// gadget is a usb.Device with the descriptors of a sound card. It runs isochronous
// URBs, keeps interrupt URBs pending, and records the URBs.
type gadget struct {
	raw  []byte
	gone chan struct{}

	mu      sync.Mutex
	urbs    []usb.URB // copies, in the order of submission, without control URBs
	pending map[*usb.URB]bool
}

func newGadget(t testing.TB) *gadget {
	t.Helper()
	raw, err := hex.DecodeString(strings.ReplaceAll(soundCard, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	raw[20] = byte(len(raw) - 18) // wTotalLength
	return &gadget{raw: raw, gone: make(chan struct{}), pending: map[*usb.URB]bool{}}
}

func (g *gadget) Info() usb.Info        { return usb.Info{} }
func (g *gadget) Gone() <-chan struct{} { return g.gone }
func (g *gadget) Close() error          { return nil }

func (g *gadget) Submit(u *usb.URB) {
	switch s := u.SetupPacket(); {
	case u.Endpoint == 0 && s.Request == 6 && s.Value == 0x100:
		u.Actual = copy(u.Data, g.raw[:18])
		u.Finish(usb.StatusOK)
	case u.Endpoint == 0 && s.Request == 6 && s.Value == 0x200:
		u.Actual = copy(u.Data, g.raw[18:])
		u.Finish(usb.StatusOK)
	case u.Endpoint == 0 && (s.Change() == usb.SetInterface || s.Change() == usb.SetConfiguration && s.Value == 1):
		u.Finish(usb.StatusOK)
	case u.Endpoint == 0:
		u.Finish(usb.StatusStall)
	case len(u.Packets) > 0:
		g.record(u)
		g.stream(u)
	default:
		g.mu.Lock()
		g.pending[u] = true
		g.mu.Unlock()
		g.record(u)
	}
}

func (g *gadget) record(u *usb.URB) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := *u
	c.Data = bytes.Clone(u.Data)
	g.urbs = append(g.urbs, c)
}

// stream completes an isochronous URB. Packet n of an IN has n bytes less than there
// is room for, and packet 1 fails.
func (g *gadget) stream(u *usb.URB) {
	for n := range u.Packets {
		p := &u.Packets[n]
		p.Actual = p.Length
		if u.In() {
			p.Actual -= uint32(n)
			copy(u.Data[p.Offset:], bytes.Repeat([]byte{byte(n + 1)}, int(p.Actual)))
		}
		u.Actual += int(p.Actual)
	}
	u.Packets[1].Status, u.ErrorCount, u.StartFrame = usb.StatusBadCRC, 1, 77
	u.Finish(usb.StatusOK)
}

func (g *gadget) Cancel(u *usb.URB) {
	g.mu.Lock()
	found := g.pending[u]
	delete(g.pending, u)
	g.mu.Unlock()
	if found {
		u.Finish(usb.StatusReset)
	}
}

// importGadget exports g on a pipe and imports it.
func importGadget(t *testing.T, g *gadget) usb.Device {
	t.Helper()
	ours, theirs := net.Pipe()
	served := make(chan error, 1)
	go func() {
		_, err := wire.ReadRequest(theirs)
		reply := &wire.RepImport{Device: wire.Device{BusID: "1-1", Speed: uint32(usb.SpeedFull), Configuration: 1}}
		if _, e := theirs.Write(reply.AppendTo(nil)); err == nil {
			err = e
		}
		if err == nil {
			err = usbip.Serve(theirs, g)
		}
		served <- err
	}()
	dev, err := usbip.Import(t.Context(), ours, "1-1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		dev.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return dev
}

func TestIsochronousURBKeepsItsPackets(t *testing.T) {
	g := newGadget(t)
	dev := importGadget(t, g)
	packets := func() []usb.IsoPacket { // with a gap between them
		return []usb.IsoPacket{{Offset: 0, Length: 8}, {Offset: 10, Length: 8}, {Offset: 20, Length: 4}}
	}
	early := &usb.URB{Endpoint: 0x81, Data: make([]byte, 24), Packets: packets()}
	if s := usb.Do(t.Context(), dev, early); s != usb.StatusInvalid {
		t.Errorf("in alternate setting 0: status %d, want %d", s, usb.StatusInvalid)
	}
	set := usb.Setup{Type: 0x01, Request: 11, Value: 1}
	if s := usb.Do(t.Context(), dev, &usb.URB{Setup: set.Bytes()}); s != usb.StatusOK {
		t.Fatalf("SET_INTERFACE: status %d", s)
	}
	in := &usb.URB{Endpoint: 0x81, Flags: usb.IsoASAP, Data: make([]byte, 24), Packets: packets()}
	if s := usb.Do(t.Context(), dev, in); s != usb.StatusOK {
		t.Fatalf("IN: status %d", s)
	}
	want := "0101010101010101" + "0000" + "02020202020202" + "000000" + "0303" + "0000"
	if got := hex.EncodeToString(in.Data); got != want || in.Actual != 17 ||
		in.ErrorCount != 1 || in.StartFrame != 77 ||
		in.Packets[1].Status != usb.StatusBadCRC || in.Packets[2].Actual != 2 {
		t.Errorf("IN: data %s, want %s; %+v", got, want, in)
	}
	out := &usb.URB{Endpoint: 0x02, Data: []byte("abcdefghijklmnopqrstuvwx"), Packets: packets(), StartFrame: 5}
	if s := usb.Do(t.Context(), dev, out); s != usb.StatusOK || out.Actual != 20 {
		t.Errorf("OUT: status %d, %d bytes", s, out.Actual)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.urbs) != 2 || string(g.urbs[1].Data) != "abcdefghijklmnopqrstuvwx" || g.urbs[1].StartFrame != 5 ||
		g.urbs[0].Flags != usb.IsoASAP || g.urbs[0].Interval != 1 {
		t.Errorf("the device got %+v", g.urbs)
	}
}

// TestURBsThatStockServersDropAreRefused expects that such URBs do not reach the
// server, and that a missing interval is taken from the descriptor.
func TestURBsThatStockServersDropAreRefused(t *testing.T) {
	g := newGadget(t)
	dev := importGadget(t, g)
	for name, u := range map[string]*usb.URB{
		"no such endpoint":            {Endpoint: 0x85, Data: make([]byte, 8)},
		"packets for an interrupt IN": {Endpoint: 0x83, Data: make([]byte, 8), Packets: make([]usb.IsoPacket, 1)},
	} {
		if s := usb.Do(t.Context(), dev, u); s != usb.StatusInvalid {
			t.Errorf("%s: status %d, want %d", name, s, usb.StatusInvalid)
		}
	}
	address := usb.Setup{Request: 5, Value: 9}
	if s := usb.Do(t.Context(), dev, &usb.URB{Setup: address.Bytes()}); s != usb.StatusStall {
		t.Errorf("SET_ADDRESS: status %d, want %d", s, usb.StatusStall)
	}
	u := &usb.URB{Endpoint: 0x83, Data: make([]byte, 8)}
	done := usb.Start(dev, u)
	again := usb.URB{Endpoint: 0x83, Data: make([]byte, 8)}
	second := usb.Start(dev, &again)
	dev.Cancel(&again)
	<-second
	dev.Cancel(u)
	<-done
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.urbs) != 2 || g.urbs[0].Interval != 10 {
		t.Errorf("the device got %+v", g.urbs)
	}
}

// TestLateResultOfCancelledURB has a server that, like the kernel's, answers an unlink
// before it sends the result of the URB. The device must go on working.
func TestLateResultOfCancelledURB(t *testing.T) {
	ours, theirs := net.Pipe()
	g := newGadget(t)
	served := make(chan error, 1)
	go func() { served <- serveLate(theirs, g) }()
	dev, err := usbip.Import(t.Context(), ours, "1-1")
	if err != nil {
		t.Fatal(err)
	}
	u := &usb.URB{Endpoint: 0x83, Data: make([]byte, 8)}
	done := usb.Start(dev, u)
	dev.Cancel(u)
	<-done
	if u.Status != usb.StatusReset {
		t.Errorf("status %d, want %d", u.Status, usb.StatusReset)
	}
	get := usb.Setup{Type: 0x80, Request: 6, Value: 0x100, Length: 18}
	if s := usb.Do(t.Context(), dev, &usb.URB{Setup: get.Bytes(), Data: make([]byte, 18)}); s != usb.StatusOK {
		t.Errorf("status %d afterwards", s)
	}
	if !bytes.Equal(u.Data, make([]byte, 8)) {
		t.Error("the late result changed the data of a completed URB")
	}
	dev.Close()
	if err := <-served; !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// serveLate serves control transfers of g. It answers an unlink with status 0 and then
// sends the result of the URB.
func serveLate(conn net.Conn, g *gadget) error {
	defer conn.Close()
	if _, err := wire.ReadRequest(conn); err != nil {
		return err
	}
	reply := &wire.RepImport{Device: wire.Device{BusID: "1-1", Speed: 2}} // no configuration is selected
	if _, err := conn.Write(reply.AppendTo(nil)); err != nil {
		return err
	}
	for {
		m, err := wire.ReadCommand(conn)
		if err != nil {
			return err
		}
		var out []byte
		switch cmd := m.(type) {
		case *wire.CmdUnlink:
			out = (&wire.RetUnlink{Header: wire.Header{Seq: cmd.Seq}}).AppendTo(nil)
			late := wire.RetSubmit{Header: wire.Header{Seq: cmd.Unlink}, Actual: 2, Data: []byte{1, 2}}
			out = late.AppendTo(out)
		case *wire.CmdSubmit:
			if cmd.Endpoint != 0 {
				continue
			}
			u := &usb.URB{Setup: cmd.Setup, Data: make([]byte, cmd.Length)}
			status := usb.Do(context.Background(), g, u)
			out = (&wire.RetSubmit{
				Header: wire.Header{Seq: cmd.Seq}, Status: int32(status),
				Actual: uint32(u.Actual), Data: u.Data[:u.Actual],
			}).AppendTo(nil)
		}
		if _, err := conn.Write(out); err != nil {
			return err
		}
	}
}

// FuzzImport imports a device from a server that sends any bytes. No URB may be lost.
func FuzzImport(f *testing.F) {
	g := newGadget(f)
	reply := (&wire.RepImport{Device: wire.Device{BusID: "1-1", Speed: 2, Configuration: 1}}).AppendTo(nil)
	result := func(seq uint32, data []byte) []byte {
		m := wire.RetSubmit{Header: wire.Header{Seq: seq}, Actual: uint32(len(data)), Data: data}
		return m.AppendTo(nil)
	}
	described := bytes.Join([][]byte{
		reply, result(1, g.raw[:18]), result(2, g.raw[18:27]), result(3, g.raw[18:]), result(4, []byte("12345678")),
		(&wire.RetUnlink{Header: wire.Header{Seq: 5}}).AppendTo(nil), result(4, nil),
	}, nil)
	f.Add(reply)
	f.Add(described)
	f.Fuzz(func(t *testing.T, sent []byte) {
		ours, theirs := net.Pipe()
		var joined sync.WaitGroup
		joined.Go(func() { io.Copy(io.Discard, theirs) })
		joined.Go(func() {
			theirs.Write(sent)
			theirs.Close()
		})
		defer joined.Wait()
		dev, err := usbip.Import(t.Context(), ours, "1-1")
		if err != nil {
			return
		}
		u := &usb.URB{Endpoint: 0x83, Data: make([]byte, 8)}
		done := usb.Start(dev, u)
		dev.Cancel(u)
		<-done // the connection ends, so the URB is completed
		if u.Actual > len(u.Data) {
			t.Errorf("%d bytes in a buffer of %d", u.Actual, len(u.Data))
		}
		dev.Close()
	})
}
