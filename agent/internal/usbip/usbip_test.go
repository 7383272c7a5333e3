package usbip_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/massstorage"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
	wire "github.com/easyfind-usb/easyfind/proto/usbip"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shop exports a bus as it is.
type shop struct{ usb.Bus }

func (s shop) Exports() []usb.Info {
	infos, _ := s.Devices()
	return infos
}

func (s shop) Import(busID string) (usb.Device, error) { return s.Open(busID, usb.OpenOptions{}) }

// bench is a server on loopback with a disk and a keyboard.
type bench struct {
	addr  string
	bus   *virtual.Bus
	image *virtual.Image
	keys  *virtual.Keyboard
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{keys: virtual.NewKeyboard(virtual.KeyboardConfig{})}
	var err error
	if b.image, err = virtual.NewSample(virtual.SampleConfig{Size: 4 << 20}); err != nil {
		t.Fatal(err)
	}
	disk, err := virtual.NewDisk(virtual.DiskConfig{Store: b.image, Size: b.image.Size()})
	if err != nil {
		t.Fatal(err)
	}
	if b.bus, err = virtual.New(virtual.Config{Gadgets: []virtual.Gadget{disk, b.keys}}); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, err := usbip.NewServer(usbip.ServerConfig{Listener: ln, Exporter: shop{b.bus}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	b.addr = ln.Addr().String()
	return b
}

func (b *bench) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func (b *bench) open(t *testing.T, id string) usb.Device {
	t.Helper()
	dev, err := usbip.Import(t.Context(), b.dial(t), id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

func TestListNamesWhatIsExported(t *testing.T) {
	b := newBench(t)
	infos, err := usbip.List(t.Context(), b.dial(t))
	if err != nil || len(infos) != 2 || infos[0].ID != "v-disk" || infos[1].ID != "v-keyboard" {
		t.Fatalf("%+v, %v", infos, err)
	}
	want, _ := b.bus.Devices()
	if infos[0].Vendor != want[0].Vendor || len(infos[0].Interfaces) != 1 || infos[0].Interfaces[0].Class != 8 {
		t.Errorf("%+v, want %+v", infos[0], want[0])
	}
}

func TestDiskReadsEqualThroughUSBIP(t *testing.T) {
	b := newBench(t)
	dev := b.open(t, "v-disk")
	want, _ := b.bus.Devices()
	if !bytes.Equal(dev.Info().Descriptors, want[0].Descriptors) {
		t.Error("the descriptors differ")
	}
	disk, err := massstorage.New(massstorage.Config{Device: dev})
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := disk.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(blocks)
	if err != nil {
		t.Fatal(err)
	}
	source, err := io.ReadAll(io.NewSectionReader(b.image, 0, b.image.Size()))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, source) {
		t.Error("the blocks differ")
	}
}

func TestASecondImporterIsRefused(t *testing.T) {
	b := newBench(t)
	first := b.open(t, "v-disk")
	if _, err := usbip.Import(t.Context(), b.dial(t), "v-disk"); !errors.Is(err, usb.ErrInUse) {
		t.Errorf("second import: %v, want ErrInUse", err)
	}
	if _, err := usbip.Import(t.Context(), b.dial(t), "9-9"); !errors.Is(err, usb.ErrNotFound) {
		t.Errorf("unknown device: %v, want ErrNotFound", err)
	}
	first.Close()
	// The server learns of the end from the connection: ask until it has.
	for {
		dev, err := usbip.Import(t.Context(), b.dial(t), "v-disk")
		if err == nil {
			dev.Close()
			return
		}
		if !errors.Is(err, usb.ErrInUse) {
			t.Fatal(err)
		}
	}
}

// TestCancelEndsOnce cancels an interrupt transfer that would wait for ever, and
// races cancellation against completion: each URB ends exactly once.
func TestCancelEndsOnce(t *testing.T) {
	b := newBench(t)
	dev := b.open(t, "v-keyboard")
	if s := usb.Do(t.Context(), dev, &usb.URB{Setup: [8]byte{0, 9, 1}}); s != usb.StatusOK {
		t.Fatalf("set configuration: %d", s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	u := &usb.URB{Endpoint: 0x81, Data: make([]byte, 8)}
	done := usb.Start(dev, u)
	dev.Cancel(u)
	<-done
	if u.Status != usb.StatusReset {
		t.Errorf("cancelled with status %d, want %d", u.Status, usb.StatusReset)
	}
	typed := make(chan error, 1)
	go func() { typed <- b.keys.Type(ctx, "abcdefghijklmnopqrstuvwxyz") }()
	var ends sync.WaitGroup
	reports := 0
	for range 200 {
		ends.Add(1) // a second Done of one URB panics here
		u := &usb.URB{Endpoint: 0x81, Data: make([]byte, 8), Done: func(*usb.URB) { ends.Done() }}
		dev.Submit(u)
		dev.Cancel(u)
		ends.Wait()
		switch {
		case u.Status == usb.StatusOK && u.Actual == 8:
			reports++
		case u.Status != usb.StatusReset:
			t.Fatalf("status %d, %d bytes", u.Status, u.Actual)
		}
	}
	t.Logf("%d of 200 were too late to cancel", reports)
	cancel()
	<-typed
}

func TestUnplugEndsTheConnection(t *testing.T) {
	b := newBench(t)
	dev := b.open(t, "v-keyboard")
	u := &usb.URB{Endpoint: 0x81, Data: make([]byte, 8)}
	done := usb.Start(dev, u)
	if err := b.bus.Unplug("v-keyboard"); err != nil {
		t.Fatal(err)
	}
	<-dev.Gone()
	<-done
	if u.Status == usb.StatusOK {
		t.Error("an URB of an unplugged device succeeded")
	}
	if s := usb.Do(t.Context(), dev, &usb.URB{Setup: [8]byte{0x80, 6, 0, 1, 0, 0, 18}, Data: make([]byte, 18)}); s != usb.StatusNoDevice {
		t.Errorf("status %d after the unplug, want %d", s, usb.StatusNoDevice)
	}
}

// TestUnplugIsNotAnsweredWithErrors: an importer that were told of an error would
// try to recover what is gone.
func TestUnplugIsNotAnsweredWithErrors(t *testing.T) {
	b := newBench(t)
	conn := claim(t, b)
	defer conn.Close()
	for seq := range uint32(3) { // a key that nobody presses
		m := wire.CmdSubmit{Header: wire.Header{Seq: seq + 1, Direction: wire.In, Endpoint: 1}, Length: 8}
		if _, err := conn.Write(m.AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
	}
	stall := wire.CmdSubmit{Header: wire.Header{Seq: 4, Direction: wire.In}, Setup: [8]byte{0x80, 6, 0, 99, 0, 0, 8}, Length: 8}
	if _, err := conn.Write(stall.AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 48)); err != nil { // so those before have been submitted
		t.Fatal(err)
	}
	if err := b.bus.Unplug("v-keyboard"); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(conn); err != nil || len(rest) != 0 {
		t.Errorf("after the unplug come %d bytes, %v", len(rest), err)
	}
}

// TestHostileImporter sends what a broken or hostile importer might. The
// connection ends, and the device is free again.
func TestHostileImporter(t *testing.T) {
	b := newBench(t)
	submit := func(c *wire.CmdSubmit) []byte { return c.AppendTo(nil) }
	for name, sent := range map[string][]byte{
		"garbage":          bytes.Repeat([]byte{0xff}, 48),
		"too long":         submit(&wire.CmdSubmit{Header: wire.Header{Seq: 1, Direction: wire.In}, Length: wire.MaxTransfer + 1}),
		"same number":      append(submit(&wire.CmdSubmit{Header: wire.Header{Seq: 1, Direction: wire.In, Endpoint: 1}, Length: 8}), submit(&wire.CmdSubmit{Header: wire.Header{Seq: 1, Direction: wire.In, Endpoint: 1}, Length: 8})...),
		"unknown endpoint": submit(&wire.CmdSubmit{Header: wire.Header{Seq: 1, Direction: wire.Out, Endpoint: 9}, Length: 4, Data: []byte("data")}),
	} {
		conn := claim(t, b)
		if _, err := conn.Write(sent); err != nil {
			t.Fatal(err)
		}
		if name == "unknown endpoint" {
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("%s: the server does not end the connection: %v", name, err)
		}
		conn.Close()
	}
	claim(t, b).Close()
}

// claim imports the keyboard by hand, as soon as the server has noticed that
// the importer before is gone.
func claim(t *testing.T, b *bench) net.Conn {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn := b.dial(t)
		conn.SetDeadline(deadline)
		if _, err := conn.Write((&wire.ReqImport{BusID: "v-keyboard"}).AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
		reply, err := wire.ReadRepImport(conn)
		switch {
		case err != nil:
			t.Fatal(err)
		case reply.Status == wire.StatusOK:
			return conn
		}
		conn.Close()
	}
}
