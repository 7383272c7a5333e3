package massstorage_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/massstorage"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual/virtualtest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openDisk opens a sample disk and returns it with its image.
func openDisk(
	t *testing.T, speed usb.Speed, table virtual.Table, readOnly bool,
) (*massstorage.Disk, *virtual.Image) {
	t.Helper()
	sample := virtual.SampleConfig{Size: 8 << 20, Seed: 1, Table: table}
	device, image := virtualtest.OpenDisk(t, sample, virtual.DiskConfig{Speed: speed, ReadOnly: readOnly})
	disk, err := massstorage.New(massstorage.Config{Device: device})
	if err != nil {
		t.Fatal(err)
	}
	return disk, image
}

func TestWholeDiskIsRead(t *testing.T) {
	for _, speed := range []usb.Speed{usb.SpeedHigh, usb.SpeedSuper} {
		disk, image := openDisk(t, speed, virtual.TableMBR, false)
		q, err := disk.Inquiry(t.Context())
		if err != nil || q.Vendor != "EasyFind" || q.Product != "Virtual Disk" {
			t.Fatalf("inquiry: %+v, %v", q, err)
		}
		r, err := disk.Read(t.Context())
		if err != nil || r.Size() != image.Size() {
			t.Fatalf("size %d, %v", r.Size(), err)
		}
		got, want := sha256.New(), sha256.New()
		if _, err := io.CopyBuffer(got, struct{ io.Reader }{r}, make([]byte, massstorage.MaxRead)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(want, io.NewSectionReader(image, 0, image.Size())); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
			t.Fatal("the bytes read differ from the image")
		}
	}
}

func TestReadAtAnyOffset(t *testing.T) {
	disk, image := openDisk(t, usb.SpeedHigh, virtual.TableMBR, false)
	r, err := disk.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ at, length int64 }{
		{0, 1}, {511, 2}, {512, 512}, {1000, 3000}, {4 << 20, 3<<20 + 5}, {8<<20 - 3, 3},
	} {
		got, want := make([]byte, c.length), make([]byte, c.length)
		if _, err := r.ReadAt(got, c.at); err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		if _, err := image.ReadAt(want, c.at); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%+v: the bytes read differ from the image", c)
		}
	}
	if n, err := r.ReadAt(make([]byte, 10), 8<<20-3); n != 3 || !errors.Is(err, io.EOF) {
		t.Errorf("read across the end: %d bytes, %v", n, err)
	}
}

func TestPartitionTablesAreRead(t *testing.T) {
	for table, want := range map[virtual.Table]massstorage.Table{
		virtual.TableMBR: {Kind: "MBR", Partitions: []massstorage.Partition{
			{Number: 1, First: 2048, Blocks: 6144, Type: "0c"}, {Number: 2, First: 8192, Blocks: 6144, Type: "83"},
		}},
		virtual.TableGPT: {Kind: "GPT", Partitions: []massstorage.Partition{
			{Number: 1, First: 2048, Blocks: 6144, Type: "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", Name: "EasyFind 1"},
			{Number: 2, First: 8192, Blocks: 6144, Type: "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", Name: "EasyFind 2"},
		}},
	} {
		disk, _ := openDisk(t, usb.SpeedHigh, table, false)
		r, err := disk.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := massstorage.ReadTable(r, 512)
		if err != nil || got.Kind != want.Kind || len(got.Partitions) != 2 ||
			got.Partitions[0] != want.Partitions[0] || got.Partitions[1] != want.Partitions[1] {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
	disk, _ := openDisk(t, usb.SpeedHigh, virtual.TableNone, false)
	r, err := disk.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := massstorage.ReadTable(r, 512); !errors.Is(err, massstorage.ErrNoTable) {
		t.Errorf("a disk without a table: %v", err)
	}
}

func TestFailedCommandsHaveSense(t *testing.T) {
	disk, _ := openDisk(t, usb.SpeedHigh, virtual.TableMBR, true)
	for name, c := range map[string]struct {
		block     []byte
		in, out   int // bytes of data
		key, code uint8
	}{
		"unknown command":        {[]byte{0xf0}, 0, 0, 5, 0x20},
		"unknown, with data":     {[]byte{0xf0}, 64, 0, 5, 0x20},
		"beyond the end":         {[]byte{0x28, 0, 0x7f, 0, 0, 0, 0, 0, 8, 0}, 4096, 0, 5, 0x21},
		"write, protected":       {[]byte{0x2a, 0, 0, 0, 0, 1, 0, 0, 1, 0}, 0, 512, 7, 0x27},
		"unknown vital page":     {[]byte{0x12, 1, 0x99, 0, 64, 0}, 64, 0, 5, 0x24},
		"unknown mode page":      {[]byte{0x1a, 0, 0x1c, 0, 192, 0}, 192, 0, 5, 0x24},
		"verify with comparison": {[]byte{0x2f, 2, 0, 0, 0, 0, 0, 0, 1, 0}, 0, 512, 5, 0x24},
	} {
		_, err := disk.Do(t.Context(), massstorage.Command{
			Block: c.block, In: make([]byte, c.in), Out: make([]byte, c.out),
		})
		want := massstorage.SenseError{Key: c.key, Code: c.code}
		var s *massstorage.SenseError
		if !errors.As(err, &s) || *s != want {
			t.Errorf("%s: %v, want %v", name, err, &want)
		}
		if _, err := disk.Capacity(t.Context()); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
}

func TestKeyboardIsRefused(t *testing.T) {
	bus, err := virtual.New(virtual.Config{Gadgets: []virtual.Gadget{virtual.NewKeyboard(virtual.KeyboardConfig{})}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := bus.Open("v-keyboard", usb.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if _, err := massstorage.New(massstorage.Config{Device: d}); !errors.Is(err, massstorage.ErrNotDisk) {
		t.Errorf("got %v", err)
	}
}

func FuzzReadTable(f *testing.F) {
	for _, table := range []virtual.Table{virtual.TableMBR, virtual.TableGPT} {
		image, err := virtual.NewSample(virtual.SampleConfig{Size: 4 << 20, Table: table})
		if err != nil {
			f.Fatal(err)
		}
		b := make([]byte, 40<<9)
		if _, err := image.ReadAt(b, 0); err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := massstorage.ReadTable(bytes.NewReader(b), 512)
		if err == nil && len(table.Partitions) > 128 {
			t.Errorf("%d partitions", len(table.Partitions))
		}
	})
}
