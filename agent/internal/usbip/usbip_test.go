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
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual/virtualtest"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	wire "github.com/easyfind-usb/easyfind/proto/usbip"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// exportedBus is an Exporter of all devices of a bus.
type exportedBus struct{ usb.Bus }

func (b exportedBus) Exports() []usb.Info {
	infos, _ := b.Devices()
	return infos
}

func (b exportedBus) Import(busID string) (usb.Device, error) {
	return b.Open(busID, usb.OpenOptions{})
}

// testServer is a server on loopback that exports a disk and a keyboard.
type testServer struct {
	addr  string
	bus   *virtual.Bus
	image *virtual.Image
	keys  *virtual.Keyboard
}

func newTestServer(t *testing.T) *testServer {
	t.Helper()
	b := &testServer{keys: virtual.NewKeyboard(virtual.KeyboardConfig{})}
	var disk *virtual.Disk
	disk, b.image = virtualtest.Disk(t, virtual.SampleConfig{Size: 4 << 20}, virtual.DiskConfig{})
	b.bus = virtualtest.Bus(t, disk, b.keys)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, err := usbip.NewServer(usbip.ServerConfig{
		Listener: ln, Exporter: exportedBus{b.bus}, Logger: slog.New(slog.DiscardHandler),
	})
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

func (b *testServer) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func (b *testServer) open(t *testing.T, id string) usb.Device {
	t.Helper()
	dev, err := usbip.Import(t.Context(), b.dial(t), id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

func TestListShowsExportedDevices(t *testing.T) {
	b := newTestServer(t)
	infos, err := usbip.List(t.Context(), b.dial(t))
	if err != nil || len(infos) != 2 || infos[0].ID != "v-disk" || infos[1].ID != "v-keyboard" {
		t.Fatalf("%+v, %v", infos, err)
	}
	want, _ := b.bus.Devices()
	if infos[0].Vendor != want[0].Vendor || len(infos[0].Interfaces) != 1 || infos[0].Interfaces[0].Class != 8 {
		t.Errorf("%+v, want %+v", infos[0], want[0])
	}
}

func TestImportedDiskHasSameBlocks(t *testing.T) {
	b := newTestServer(t)
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

func TestSecondImporterIsRefused(t *testing.T) {
	b := newTestServer(t)
	first := b.open(t, "v-disk")
	if _, err := usbip.Import(t.Context(), b.dial(t), "v-disk"); !errors.Is(err, usb.ErrInUse) {
		t.Errorf("second import: %v, want ErrInUse", err)
	}
	if _, err := usbip.Import(t.Context(), b.dial(t), "9-9"); !errors.Is(err, usb.ErrNotFound) {
		t.Errorf("unknown device: %v, want ErrNotFound", err)
	}
	first.Close()
	// The server notices the end of the connection some time after Close.
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

// TestCancelledURBCompletesOnce cancels an interrupt transfer that never ends by
// itself, and then cancels transfers at the moment of their completion. Each URB
// must complete exactly once.
func TestCancelledURBCompletesOnce(t *testing.T) {
	b := newTestServer(t)
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
		ends.Add(1) // a second call of Done panics: the counter becomes negative
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
	b := newTestServer(t)
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
	get := &usb.URB{Setup: [8]byte{0x80, 6, 0, 1, 0, 0, 18}, Data: make([]byte, 18)}
	if s := usb.Do(t.Context(), dev, get); s != usb.StatusNoDevice {
		t.Errorf("status %d after the unplug, want %d", s, usb.StatusNoDevice)
	}
}

// TestUnplugClosesConnectionWithoutReplies expects no replies to pending URBs: on
// an error the importer would try to reset the device.
func TestUnplugClosesConnectionWithoutReplies(t *testing.T) {
	b := newTestServer(t)
	conn := claim(t, b)
	defer conn.Close()
	for seq := range uint32(3) { // reads that wait for a key
		m := wire.CmdSubmit{Header: wire.Header{Seq: seq + 1, Direction: wire.In, Endpoint: 1}, Length: 8}
		if _, err := conn.Write(m.AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
	}
	stall := wire.CmdSubmit{
		Header: wire.Header{Seq: 4, Direction: wire.In}, Setup: [8]byte{0x80, 6, 0, 99, 0, 0, 8}, Length: 8,
	}
	if _, err := conn.Write(stall.AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 48)); err != nil { // its reply: all URBs have been submitted
		t.Fatal(err)
	}
	if err := b.bus.Unplug("v-keyboard"); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(conn); err != nil || len(rest) != 0 {
		t.Errorf("%d bytes, %v after the unplug; want none", len(rest), err)
	}
}

// TestHostileImporter sends messages of a broken or hostile importer. The server
// must close the connection, and the device must be free again.
func TestHostileImporter(t *testing.T) {
	b := newTestServer(t)
	submit := func(endpoint uint32, d wire.Direction, length uint32, data []byte) []byte {
		c := wire.CmdSubmit{Header: wire.Header{Seq: 1, Direction: d, Endpoint: endpoint}, Length: length, Data: data}
		return c.AppendTo(nil)
	}
	for name, sent := range map[string][]byte{
		"garbage":          bytes.Repeat([]byte{0xff}, 48),
		"too long":         submit(0, wire.In, wire.MaxTransfer+1, nil),
		"same number":      bytes.Repeat(submit(1, wire.In, 8, nil), 2),
		"unknown endpoint": submit(9, wire.Out, 4, []byte("data")),
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
			t.Errorf("%s: the server does not close the connection: %v", name, err)
		}
		conn.Close()
	}
	claim(t, b).Close()
}

// claim imports the keyboard and returns the connection in the URB phase. It
// tries until the server has noticed that the previous importer is gone.
func claim(t *testing.T, b *testServer) net.Conn {
	t.Helper()
	for deadline := time.Now().Add(waittest.Timeout); ; {
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

// TestHostileServerCannotLoseURB sends the reply to a cancellation with the number
// of a submitted URB. The URB must still complete, at the end of the connection.
func TestHostileServerCannotLoseURB(t *testing.T) {
	bus := newTestServer(t).bus
	keyboard, err := bus.Open("v-keyboard", usb.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer keyboard.Close()
	ours, theirs := net.Pipe()
	served := make(chan error, 1)
	go func() {
		defer theirs.Close()
		served <- serveWrongUnlink(theirs, keyboard)
	}()
	dev, err := usbip.Import(t.Context(), ours, "v-keyboard")
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	u := &usb.URB{Endpoint: 0x81, Data: make([]byte, 8)}
	<-usb.Start(dev, u)
	if u.Status != usb.StatusNoDevice {
		t.Errorf("status %d, want %d", u.Status, usb.StatusNoDevice)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// serveWrongUnlink exports dev on conn: it runs control transfers, and answers the
// first other transfer with a RetUnlink that has its number.
func serveWrongUnlink(conn net.Conn, dev usb.Device) error {
	if _, err := wire.ReadRequest(conn); err != nil {
		return err
	}
	if _, err := conn.Write((&wire.RepImport{Device: wire.Device{BusID: "v-keyboard"}}).AppendTo(nil)); err != nil {
		return err
	}
	for {
		m, err := wire.ReadCommand(conn)
		if err != nil {
			return err
		}
		cmd := m.(*wire.CmdSubmit)
		if cmd.Endpoint != 0 {
			reply := wire.RetUnlink{Header: wire.Header{Seq: cmd.Seq}, Status: int32(usb.StatusReset)}
			_, err := conn.Write(reply.AppendTo(nil))
			return err
		}
		u := &usb.URB{Setup: cmd.Setup, Data: make([]byte, cmd.Length)}
		status := usb.Do(context.Background(), dev, u)
		reply := wire.RetSubmit{
			Header: wire.Header{Seq: cmd.Seq}, Status: int32(status), Actual: uint32(u.Actual), Data: u.Data[:u.Actual],
		}
		if _, err := conn.Write(reply.AppendTo(nil)); err != nil {
			return err
		}
	}
}
