package agent_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/agent/internal/link/tcplink"
	"github.com/easyfind-usb/easyfind/agent/internal/stage"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// BenchmarkThroughput measures the processor time of both agents for each GB that they carry
// on a fast link, with bulk URBs. They carry the URBs of a usb.Device ("urb"), or those
// of a USB/IP client to a USB/IP server, both of which run in another process ("usbip"):
//
//	other process        this process                                other process
//	USB/IP client ──TCP──► endpoint ─► session ─► link ─► session ──TCP──► USB/IP server
//
// "tls/alone" is a TLS connection that carries bytes and nothing else. How much processor
// time a GB takes depends on the machine and on what else runs there, so compare with it.
func BenchmarkThroughput(b *testing.B) {
	b.Run("tls/alone", benchmarkTLS)
	for _, over := range []struct {
		name string
		dial dialer
	}{{"quic", dialQUIC}, {"tls", dialTCP(tcplink.TLS)}, {"tcp", dialTCP(tcplink.Plain)}} {
		for _, kind := range []string{"urb", "usbip"} {
			for _, l := range []load{
				{"in64K", bulkIn, 64 << 10, 32},
				{"in1M", bulkIn, 1 << 20, 8},
				{"out64K", bulkOut, 64 << 10, 32},
				{"out1M", bulkOut, 1 << 20, 8},
			} {
				b.Run(over.name+"/"+kind+"/"+l.name, func(b *testing.B) {
					if kind == "usbip" {
						benchmarkUSBIP(b, over.dial, l)
						return
					}
					dev := stage.Wrap(throughSession(b, newInstantDevice(b), over.dial), stage.Config{})
					l.run(dev, l.inFlight)
					meterOf(b, l.size, func() { l.run(dev, b.N) })
				})
			}
		}
	}
}

// benchmarkTLS sends bytes over a TLS connection on loopback.
func benchmarkTLS(b *testing.B) {
	const size = 64 << 10
	key, err := ident.NewKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	cfg, err := ident.MutualTLS(key, "bench", trustAll)
	if err != nil {
		b.Fatal(err)
	}
	ln, err := tls.Listen("tcp", anyPort, cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	received := make(chan int64, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			received <- 0
			return
		}
		defer conn.Close()
		n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, conn, make([]byte, size))
		received <- n
	}()
	conn, err := tls.Dial("tcp", ln.Addr().String(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, size)
	meterOf(b, size, func() {
		for range b.N {
			if _, err := conn.Write(buf); err != nil {
				b.Fatal(err)
			}
		}
		conn.CloseWrite()
		if n := <-received; n != int64(b.N)*size {
			b.Fatalf("%d bytes arrived", n)
		}
	})
}

// TestTransfersReuseMemory bounds what both agents, a USB/IP client and a USB/IP server
// allocate for bulk URBs over a TLS link. In a steady state each buffer is used again.
func TestTransfersReuseMemory(t *testing.T) {
	const urbs = 300
	most, share := 80.0, 0.6
	if linktest.RaceDetector {
		most, share = 250, 4
	}
	for _, l := range []load{{"in", bulkIn, 64 << 10, 16}, {"out", bulkOut, 64 << 10, 16}} {
		t.Run(l.name, func(t *testing.T) {
			from := importFrom(t, serveUSBIP(t, newInstantDevice(t)))
			remote := throughSession(t, from, dialTCP(tcplink.TLS))
			dev := importFrom(t, serveUSBIP(t, stage.Wrap(remote, stage.Config{})))
			l.run(dev, urbs)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			l.run(dev, urbs)
			runtime.ReadMemStats(&after)
			allocations := float64(after.Mallocs-before.Mallocs) / urbs
			bytes := float64(after.TotalAlloc-before.TotalAlloc) / float64(urbs*l.size)
			if allocations > most || bytes > share {
				t.Errorf("%.1f allocations for each URB and %.2f bytes for each byte, want at most %.0f and %.1f",
					allocations, bytes, most, share)
			}
			t.Logf("%.1f allocations for each URB, %.2f bytes for each byte", allocations, bytes)
		})
	}
}

// importFrom imports an instantDevice over USB/IP.
func importFrom(t testing.TB, address string) usb.Device {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	imported, err := usbip.Import(t.Context(), conn, "instant")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { imported.Close() })
	return imported
}

// meterOf runs a transfer of b.N URBs and reports what the process used for it.
func meterOf(b *testing.B, size int, transfer func()) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := linktest.ProcessorTime(b)
	b.SetBytes(int64(size))
	b.ResetTimer()
	transfer()
	b.StopTimer()
	used := linktest.ProcessorTime(b) - began
	runtime.ReadMemStats(&after)
	urbs := float64(b.N)
	b.ReportMetric(used.Seconds()/(urbs*float64(size)/1e9), "cpu-s/GB")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/urbs, "allocs/URB")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/(urbs*float64(size)/1e6), "alloc-B/MB")
	b.ReportMetric(0, "ns/op")
}

// load is a stream of URBs to one endpoint.
type load struct {
	name     string
	endpoint usb.Endpoint
	size     int
	inFlight int
}

// run submits n URBs to a device, a fixed number at a time, and waits until all of them have
// completed.
func (l load) run(dev usb.Device, n int) {
	idle := make(chan *usb.URB, l.inFlight)
	for range l.inFlight {
		idle <- &usb.URB{Endpoint: l.endpoint, Data: make([]byte, l.size), Done: func(u *usb.URB) {
			if u.Status != usb.StatusOK || u.Actual != l.size {
				panic(fmt.Sprintf("an URB completed with status %d and %d bytes", u.Status, u.Actual))
			}
			idle <- u
		}}
	}
	for range n {
		dev.Submit(<-idle)
	}
	for range l.inFlight {
		<-idle
	}
}

// The endpoints of an instantDevice.
const (
	bulkIn  usb.Endpoint = 0x81
	bulkOut usb.Endpoint = 0x02
)

// instantDevice completes each URB in full and in order, and touches no data.
type instantDevice struct {
	urbs chan *usb.URB
	gone chan struct{}
}

func newInstantDevice(b testing.TB) usb.Device {
	d := instantDevice{urbs: make(chan *usb.URB, usb.MaxPending), gone: make(chan struct{})}
	var done sync.WaitGroup
	done.Go(d.serve)
	if b != nil {
		b.Cleanup(func() { close(d.urbs); done.Wait() })
	}
	return d
}

func (d instantDevice) serve() {
	for u := range d.urbs {
		if u.Endpoint == 0 {
			u.Actual = copy(u.Data, d.descriptor(u.SetupPacket().Value))
		} else {
			u.Actual = len(u.Data)
		}
		u.Finish(usb.StatusOK)
	}
}

func (d instantDevice) descriptor(value uint16) []byte {
	const deviceLength = 18
	all := d.Info().Descriptors
	if value>>8 == 1 {
		return all[:deviceLength]
	}
	return all[deviceLength:]
}

func (d instantDevice) Info() usb.Info {
	setting := []byte{
		9, 4, 0, 0, 2, 0xff, 0, 0, 0,
		7, 5, byte(bulkIn), 2, 0, 2, 0,
		7, 5, byte(bulkOut), 2, 0, 2, 0,
	}
	raw := []byte{18, 1, 0, 2, 0xff, 0, 0, 64, 0x34, 0x12, 0x78, 0x56, 0, 1, 0, 0, 0, 1}
	raw = append(raw, 9, 2, byte(9+len(setting)), 0, 1, 1, 0, 0x80, 50)
	return usb.Info{ID: "instant", Speed: usb.SpeedSuper, Descriptors: append(raw, setting...)}
}

func (d instantDevice) Submit(u *usb.URB)     { d.urbs <- u }
func (d instantDevice) Cancel(*usb.URB)       {}
func (d instantDevice) Gone() <-chan struct{} { return d.gone }
func (d instantDevice) Close() error          { return nil }

// loadProcess is the name of the environment variable that makes the test binary run
// runLoadProcess.
const loadProcess = "EASYFIND_TEST_LOAD_PROCESS"

// benchmarkUSBIP carries the URBs of another process.
func benchmarkUSBIP(b *testing.B, dial dialer, l load) {
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), loadProcess+"=1"), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	out := bufio.NewReader(pipe)
	answer := func() (s string) {
		if _, err := fmt.Fscanln(out, &s); err != nil {
			b.Fatal(err)
		}
		return s
	}
	imported := importFrom(b, answer())
	dev := stage.Wrap(throughSession(b, imported, dial), stage.Config{})
	fmt.Fprintln(in, serveUSBIP(b, dev))
	transfer := func(n int) {
		fmt.Fprintln(in, l.endpoint, l.size, l.inFlight, n)
		answer()
	}
	transfer(l.inFlight)
	meterOf(b, l.size, func() { transfer(b.N) })
}

// serveUSBIP exports a device over USB/IP on loopback and returns the address.
func serveUSBIP(b testing.TB, dev usb.Device) string {
	b.Helper()
	ln, err := net.Listen("tcp", anyPort)
	if err != nil {
		b.Fatal(err)
	}
	server, err := usbip.NewServer(usbip.ServerConfig{
		Listener: ln, Exporter: exporter{dev}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	run(b, server.Run)
	return ln.Addr().String()
}

// runLoadProcess exports a device over USB/IP, imports it from an address that it reads, and
// runs the loads that it reads.
func runLoadProcess() error {
	dev := newInstantDevice(nil)
	ln, err := net.Listen("tcp", anyPort)
	if err != nil {
		return err
	}
	server, err := usbip.NewServer(usbip.ServerConfig{
		Listener: ln, Exporter: exporter{dev}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	go server.Run(context.Background())
	fmt.Println(ln.Addr())
	in := bufio.NewReader(os.Stdin)
	var address string
	if _, err := fmt.Fscanln(in, &address); err != nil {
		return err
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	imported, err := usbip.Import(context.Background(), conn, "instant")
	if err != nil {
		return err
	}
	for {
		var l load
		var n int
		switch _, err := fmt.Fscanln(in, &l.endpoint, &l.size, &l.inFlight, &n); err {
		case nil:
			l.run(imported, n)
			fmt.Println("done")
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}
