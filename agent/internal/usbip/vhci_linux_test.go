package usbip

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	wire "github.com/easyfind-usb/easyfind/proto/usbip"
)

// table is the status table of Linux 6.1, shortened.
const table = `hub port sta spd dev      sockfd local_busid
hs  0000 006 002 00010001 000003 1-1
hs  0001 004 000 00000000 000000 0-0
ss  0008 004 000 00000000 000000 0-0
`

func TestPortTableIsParsed(t *testing.T) {
	want := []port{{"hs", 0, portInUse, "1-1"}, {"hs", 1, portFree, "0-0"}, {"ss", 8, portFree, "0-0"}}
	if got := parsePorts(table); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// fakeVHCI returns a VHCI that uses files in a temporary directory instead of
// sysfs.
func fakeVHCI(t *testing.T) *VHCI {
	t.Helper()
	v := NewVHCI(VHCIConfig{ExtraTimeout: time.Minute, Logger: slog.New(slog.DiscardHandler)})
	v.sys = t.TempDir()
	write(t, v.file("status"), table)
	write(t, v.file("attach"), "")
	return v
}

func write(t *testing.T, name, content string) {
	t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o600))
	if err != nil {
		t.Fatal(err)
	}
}

func TestDeviceIsAttachedToPortOfItsSpeed(t *testing.T) {
	v := fakeVHCI(t)
	for speed, want := range map[usb.Speed]int{usb.SpeedHigh: 1, usb.SpeedSuperPlus: 8} {
		number, conn, err := v.attach(usb.Info{Speed: speed, BusNumber: 2, DeviceNumber: 3})
		if err != nil || number != want {
			t.Errorf("speed %d: port %d, %v; want port %d", speed, number, err, want)
			continue
		}
		conn.Close()
	}
	all := "hub port sta spd dev      sockfd local_busid\nhs  0000 006 002 00010001 000003 1-1\n"
	if err := os.WriteFile(v.file("status"), []byte(all), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.attach(usb.Info{Speed: usb.SpeedHigh}); !errors.Is(err, ErrNoPort) {
		t.Errorf("without a free port: %v, want ErrNoPort", err)
	}
}

// TestLeastRecentlyUsedPortIsTaken attaches devices one after the other. The
// kernel may still be removing the previous device of a port that was used last.
func TestLeastRecentlyUsedPortIsTaken(t *testing.T) {
	v := fakeVHCI(t)
	write(t, v.file("status"), table+"ss  0009 004 000 00000000 000000 0-0\nss  0010 004 000 00000000 000000 0-0\n")
	var taken []int
	for range 9 {
		number, conn, err := v.attach(usb.Info{Speed: usb.SpeedSuper})
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		taken = append(taken, number)
	}
	first := slices.Sorted(slices.Values(taken[:3]))
	second, third := taken[3:6], taken[6:]
	if !slices.Equal(first, []int{8, 9, 10}) || !slices.Equal(second, taken[:3]) || !slices.Equal(third, taken[:3]) {
		t.Errorf("ports %v; want 8, 9 and 10 in any order, and then again in the same order", taken)
	}
}

// blockingConn is a connection whose Write blocks until it is closed.
type blockingConn struct {
	closed chan struct{}
	close  func()
}

func newBlockingConn() blockingConn {
	c := blockingConn{closed: make(chan struct{})}
	c.close = sync.OnceFunc(func() { close(c.closed) })
	return c
}

func (c blockingConn) Write([]byte) (int, error) { <-c.closed; return 0, unix.EPIPE }
func (c blockingConn) Close() error              { c.close(); return nil }

func TestQueueingNeverBlocks(t *testing.T) {
	conn := newBlockingConn()
	o := newOutbox(conn)
	ended := make(chan struct{})
	go func() { o.run(); close(ended) }()
	for range 1000 {
		o.put(&wire.CmdUnlink{}, nil, nil)
	}
	o.close()
	conn.Close()
	<-ended
}
