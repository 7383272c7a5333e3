package usbtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/massstorage"
)

// works checks that a disk answers commands. It does nothing for other devices.
func works(t *testing.T, d usb.Device) {
	t.Helper()
	disk, err := massstorage.New(massstorage.Config{Device: d, Timeout: timeout})
	if errors.Is(err, massstorage.ErrNotDisk) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Inquiry(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Capacity(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func isDisk(info usb.Info) bool {
	return slices.ContainsFunc(info.Interfaces, func(i usb.Interface) bool {
		return i.Class == 0x08 && i.Protocol == 0x50
	})
}

// openDisk returns the disk of a device. It skips the test on other devices.
func openDisk(t *testing.T, d usb.Device) *massstorage.Disk {
	t.Helper()
	disk, err := massstorage.New(massstorage.Config{Device: d, Timeout: timeout})
	if errors.Is(err, massstorage.ErrNotDisk) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return disk
}

// massStorage checks reads of several lengths and the recovery from a command
// that the disk does not know.
func massStorage(t *testing.T, d usb.Device) {
	disk := openDisk(t, d)
	q, err := disk.Inquiry(t.Context())
	if err != nil || q.Type != 0 {
		t.Fatalf("inquiry: %+v, %v", q, err)
	}
	r, err := disk.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const most = 1 << 20
	if r.Size() < most+1024 {
		t.Skipf("a disk of %d bytes is too small for reads of 1 MiB", r.Size())
	}
	whole := make([]byte, most+1024)
	if _, err := r.ReadAt(whole, 0); err != nil {
		t.Fatal(err)
	}
	for _, length := range []int{512, 1024, 4096, 4608, 65536, 122880, 1 << 20} {
		part := make([]byte, length)
		if _, err := r.ReadAt(part, 512); err != nil {
			t.Fatalf("%d bytes: %v", length, err)
		}
		if !bytes.Equal(part, whole[512:512+length]) {
			t.Errorf("a read of %d bytes differs from the read of all blocks at once", length)
		}
	}
	for range 3 {
		var refusal *massstorage.SenseError
		_, err := disk.Do(t.Context(), massstorage.Command{Block: []byte{0xf0, 0, 0, 0, 0, 0}, In: make([]byte, 512)})
		if !errors.As(err, &refusal) || refusal.Key != 5 {
			t.Errorf("unknown command: %v, want an illegal request", err)
		}
		works(t, d)
	}
}

// massStorageInFlight reads one page per URB, as the kernel's usb-storage driver
// does for a scatter list.
func massStorageInFlight(t *testing.T, d usb.Device) { ReadInFlight(t, d, 64, 4<<10, true) }

// ReadInFlight reads count times size bytes of a disk with one command. It
// submits count URBs of size bytes for the data at once. If status is true, it
// also submits the URB for the status wrapper at once, otherwise afterwards.
func ReadInFlight(t *testing.T, d usb.Device, count, size int, status bool) {
	t.Helper()
	disk := openDisk(t, d)
	r, err := disk.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, count*size)
	for at := 0; at < len(want); at += size {
		if _, err := r.ReadAt(want[at:at+size], int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := disk.Capacity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in, out := bulkPair(t, d.Info())
	urbs := make([]*usb.URB, count)
	for n := range urbs {
		urbs[n] = &usb.URB{Endpoint: in, Data: make([]byte, size)}
	}
	wrapper := &usb.URB{Endpoint: in, Data: make([]byte, 13)}
	if status {
		urbs = append(urbs, wrapper)
	}
	rec := newRecorder(len(urbs))
	for n, u := range urbs {
		u.Done = rec.done(n)
	}
	command := make([]byte, 31)
	copy(command, "USBC....")
	binary.LittleEndian.PutUint32(command[8:], uint32(count*size))
	command[12], command[14], command[15] = 0x80, 10, 0x28
	binary.BigEndian.PutUint16(command[22:], uint16(count*size/int(c.BlockSize)))
	if u := do(t, d, &usb.URB{Endpoint: out, Data: command}); u.Status != usb.StatusOK || u.Actual != 31 {
		t.Fatalf("command: status %d, %d bytes", u.Status, u.Actual)
	}
	for _, u := range urbs {
		d.Submit(u)
	}
	wait(t, rec.all, fmt.Sprintf("completion of a read in %d URBs", count))
	rec.inOrder(t)
	for n, u := range urbs[:count] {
		if u.Status != usb.StatusOK || !bytes.Equal(u.Data[:u.Actual], want[n*size:(n+1)*size]) {
			t.Errorf("URB %d: status %d, %d bytes, or wrong data", n, u.Status, u.Actual)
		}
	}
	if !status {
		do(t, d, wrapper)
	}
	if wrapper.Status != usb.StatusOK || string(wrapper.Data[:8]) != "USBS...." || wrapper.Data[12] != 0 {
		t.Errorf("status wrapper: status %d, %q", wrapper.Status, wrapper.Data[:wrapper.Actual])
	}
	works(t, d)
}

// bulkPair returns the endpoints of the mass-storage interface.
func bulkPair(t *testing.T, info usb.Info) (in, out usb.Endpoint) {
	t.Helper()
	d, err := usb.ParseDescriptors(info.Descriptors)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := d.Configuration(info.Configuration)
	i := slices.IndexFunc(c.Settings, func(s usb.Setting) bool { return s.Class == 0x08 && s.Protocol == 0x50 })
	for _, e := range c.Settings[i].Endpoints {
		if e.Address.In() {
			in = e.Address
		} else {
			out = e.Address
		}
	}
	return in, out
}

// hid checks the class requests of a HID.
func hid(t *testing.T, d usb.Device) {
	info := d.Info()
	i := slices.IndexFunc(info.Interfaces, func(i usb.Interface) bool { return i.Class == 0x03 })
	if i < 0 {
		t.Skip("the device is not a HID")
	}
	number := uint16(info.Interfaces[i].Number)
	report := usb.Setup{Type: 0x81, Request: 6, Value: 0x2200, Index: number, Length: 4096}
	u := do(t, d, &usb.URB{Setup: report.Bytes(), Data: make([]byte, 4096)})
	if u.Status != usb.StatusOK || u.Actual == 0 {
		t.Errorf("report descriptor: status %d, %d bytes", u.Status, u.Actual)
	}
	idle := usb.Setup{Type: 0x21, Request: 10, Index: number}
	if u := do(t, d, &usb.URB{Setup: idle.Bytes()}); u.Status != usb.StatusOK && u.Status != usb.StatusStall {
		t.Errorf("SET_IDLE: status %d", u.Status)
	}
	if info.Interfaces[i].SubClass == 1 { // boot
		protocol := usb.Setup{Type: 0x21, Request: 11, Value: 1, Index: number}
		if u := do(t, d, &usb.URB{Setup: protocol.Bytes()}); u.Status != usb.StatusOK {
			t.Errorf("SET_PROTOCOL: status %d", u.Status)
		}
	}
	works(t, d)
}
