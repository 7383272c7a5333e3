package agent_test

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/quiclink"
	"github.com/easyfind-usb/easyfind/agent/internal/link/tcplink"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/deploy/e2e/lab"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

var (
	benchPriority     = flag.Bool("bench-priority", false, "measure key presses next to bulk data over emulated links")
	benchPriorityTime = flag.Duration("bench-priority-time", 8*time.Second, "length of each measurement")
)

// The endpoints of a busyDevice.
const (
	busyBulkIn      usb.Endpoint = 0x81
	busyInterruptIn usb.Endpoint = 0x82
)

// pressInterval is the time between two reports. It is no multiple of a round trip.
const pressInterval = 23 * time.Millisecond

// warmUp is the time before a measurement, in which links measure the path.
const warmUp = 5 * time.Second

// busyDevice is a device with a bulk IN endpoint that always has data, and an interrupt IN
// endpoint that reports the time every pressInterval.
type busyDevice struct {
	info usb.Info
	gone chan struct{}

	mu      sync.Mutex
	waiting []*usb.URB // guarded by mu; for the next reports
}

func newBusyDevice() *busyDevice {
	configuration := []byte{
		9, 2, 32, 0, 1, 1, 0, 0x80, 50,
		9, 4, 0, 0, 2, 0xff, 0, 0, 0,
		7, 5, byte(busyBulkIn), 2, 0, 2, 0,
		7, 5, byte(busyInterruptIn), 3, 8, 0, 1,
	}
	device := []byte{18, 1, 0, 2, 0, 0, 0, 64, 0x09, 0x12, 1, 0, 0, 1, 0, 0, 0, 1}
	return &busyDevice{
		info: usb.Info{
			ID: "busy", Speed: usb.SpeedHigh, Vendor: 0x1209, Product: 1, Configuration: 1, NumConfigurations: 1,
			Descriptors: append(device, configuration...),
		},
		gone: make(chan struct{}),
	}
}

func (d *busyDevice) Info() usb.Info        { return d.info }
func (d *busyDevice) Gone() <-chan struct{} { return d.gone }
func (d *busyDevice) Close() error          { return nil }

func (d *busyDevice) Submit(u *usb.URB) {
	if u.Endpoint == busyInterruptIn {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.waiting = append(d.waiting, u)
		return
	}
	u.Actual = len(u.Data)
	go u.Finish(usb.StatusOK)
}

func (d *busyDevice) Cancel(u *usb.URB) {
	d.mu.Lock()
	i := slices.Index(d.waiting, u)
	if i >= 0 {
		d.waiting = slices.Delete(d.waiting, i, i+1)
	}
	d.mu.Unlock()
	if i >= 0 {
		u.Finish(usb.StatusReset)
	}
}

// press reports the time. It returns false if no URB waits for the report.
func (d *busyDevice) press() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.waiting) == 0 {
		return false
	}
	u := d.waiting[0]
	d.waiting = d.waiting[1:]
	binary.BigEndian.PutUint64(u.Data, uint64(time.Now().UnixNano()))
	u.Actual = 8
	u.Finish(usb.StatusOK)
	return true
}

// priorityConditions are emulated links and the number of bulk URBs in flight.
var priorityConditions = []struct {
	name string
	lab.Impair
	urbs int
}{
	{"20 ms, no bulk data", lab.Impair{Delay: 10 * time.Millisecond}, 0},
	{"50 Mbit/s, 20 ms", lab.Impair{Rate: 50, Delay: 10 * time.Millisecond}, 64},
	{"50 Mbit/s, 20 ms, 2 % loss", lab.Impair{Rate: 50, Delay: 10 * time.Millisecond, Loss: 0.02}, 64},
	{"50 Mbit/s, 20 ms, UDP policed to 1 Mbit/s", lab.Impair{Rate: 50, Delay: 10 * time.Millisecond, UDPRate: 1}, 64},
}

// TestBenchPriority measures how late reports of an interrupt endpoint arrive while a bulk
// endpoint of the same device fills the link, over QUIC and over TLS.
func TestBenchPriority(t *testing.T) {
	if !*benchPriority {
		t.Skip("a benchmark, run by make bench-priority")
	}
	fmt.Printf("%-42s %-6s %10s %10s %10s %10s\n",
		"key presses next to bulk data, lateness", "link", "p50 ms", "p99 ms", "most ms", "Mbit/s")
	for _, c := range priorityConditions {
		for _, transport := range []string{"quic", "tls"} {
			if c.UDPRate > 0 && transport == "tls" {
				continue
			}
			t.Run(c.name+"/"+transport, func(t *testing.T) {
				l := lab.Start(t, &lab.Topology{Prefix: "ef-prio-", Seed: 1, Nodes: []lab.Node{
					{Name: "inet", LAN: []string{"198.51.100.1/24"}},
					{Name: "a", Via: "inet", Addr: []string{"198.51.100.10/24"}},
					{Name: "b", Via: "inet", Addr: []string{"198.51.100.20/24"}, Link: &lab.Link{Impair: c.Impair}},
				}})
				late, rate := measurePresses(t, l, transport, c.urbs)
				if len(late) == 0 {
					t.Fatal("no report arrived")
				}
				slices.Sort(late)
				at := func(share float64) float64 {
					return float64(late[int(share*float64(len(late)-1))]-c.Delay) / float64(time.Millisecond)
				}
				fmt.Printf("%-42s %-6s %10.1f %10.1f %10.1f %10.1f\n",
					c.name, transport, at(0.5), at(0.99), at(1), rate)
			})
		}
	}
}

// labDialer makes links between the nodes a and b of a laboratory.
func labDialer(t *testing.T, l *lab.Lab, transport string) dialer {
	within := func(node string, do func() error) {
		t.Helper()
		if err := l.Do(node, do); err != nil {
			t.Fatal(err)
		}
	}
	return func(_ testing.TB, from, to ident.Key, accept func(link.Link)) link.Link {
		if transport == "quic" {
			endpoint := func(node, listen string, key ident.Key) (e *quiclink.Endpoint) {
				within(node, func() (err error) {
					e, err = quiclink.NewEndpoint(quiclink.Config{
						Key: key, Listen: listen, Trust: trustAll, Accept: accept,
					})
					return err
				})
				run(t, e.Run)
				return e
			}
			b := endpoint("b", "198.51.100.20:7000", to)
			a := endpoint("a", "198.51.100.10:7000", from)
			l, err := a.Dial(t.Context(), b.LocalAddr().(*net.UDPAddr), to.ID(), link.Path{Rank: link.RankHost})
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		within("b", func() error {
			ln, err := tcplink.NewListener(tcplink.Config{
				Key: to, Mode: tcplink.TLS, Listen: "198.51.100.20:7001", Trust: trustAll, Accept: accept,
			})
			if err == nil {
				run(t, ln.Run)
			}
			return err
		})
		addr := forward(t, l, "198.51.100.20:7001")
		link, err := tcplink.Dialer{Key: from}.Dial(t.Context(), tcplink.TLS, addr, to.ID())
		if err != nil {
			t.Fatal(err)
		}
		return link
	}
}

// forward forwards TCP connections on loopback to an address that node a reaches. It
// returns its own address.
func forward(t *testing.T, l *lab.Lab, target string) string {
	t.Helper()
	ln, err := net.Listen("tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			var out net.Conn
			if err := l.Do("a", func() (err error) {
				out, err = net.Dial("tcp4", target)
				return err
			}); err != nil {
				in.Close()
				continue
			}
			for _, pipe := range [][2]net.Conn{{in, out}, {out, in}} {
				go func() {
					_, _ = io.Copy(pipe[0], pipe[1]) // ends with either connection
					pipe[0].Close()
					pipe[1].Close()
				}()
			}
		}
	}()
	return ln.Addr().String()
}

// measurePresses returns how long each report took, and the rate of the bulk data in
// Mbit/s.
func measurePresses(
	t *testing.T, l *lab.Lab, transport string, urbs int,
) (late []time.Duration, rate float64) {
	t.Helper()
	dev := newBusyDevice()
	remote, _ := attachThroughEither(t, dev, labDialer(t, l, transport), labDialer(t, l, "tls"))
	var count atomic.Int64
	resubmit := func(e usb.Endpoint, size int, note func(*usb.URB)) {
		u := &usb.URB{Endpoint: e, Data: make([]byte, size)}
		u.Done = func(u *usb.URB) {
			if u.Status == usb.StatusOK {
				note(u)
				remote.Submit(u)
			}
		}
		remote.Submit(u)
	}
	for range urbs {
		resubmit(busyBulkIn, 64<<10, func(u *usb.URB) { count.Add(int64(u.Actual)) })
	}
	reports := make(chan time.Duration, 1<<16)
	for range 32 {
		resubmit(busyInterruptIn, 8, func(u *usb.URB) {
			reports <- time.Duration(time.Now().UnixNano() - int64(binary.BigEndian.Uint64(u.Data)))
		})
	}
	tick := time.NewTicker(pressInterval)
	defer tick.Stop()
	missed, warm, began := 0, 0, time.Now()
	var before int64
	for now := range tick.C {
		if now.Sub(began) < warmUp {
			warm = len(reports)
			before = count.Load()
		}
		if now.Sub(began) > warmUp+*benchPriorityTime {
			break
		}
		if !dev.press() {
			missed++
		}
	}
	rate = float64(count.Load()-before) * 8 / benchPriorityTime.Seconds() / 1e6
	remote.Close()
	close(reports)
	for d := range reports {
		if warm--; warm < 0 {
			late = append(late, d)
		}
	}
	if missed > 0 {
		t.Logf("%d reports had no URB", missed)
	}
	return late, rate
}
