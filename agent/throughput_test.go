package agent_test

import (
	"bufio"
	"context"
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
)

// BenchmarkThroughput measures the processor time of both agents for each GB that they carry
// on a fast link, with bulk URBs. They carry the URBs of a usb.Device ("urb"), or those
// of a USB/IP client to a USB/IP server, both of which run in another process ("usbip"):
//
//	other process        this process                                other process
//	USB/IP client ──TCP──► endpoint ─► session ─► link ─► session ──TCP──► USB/IP server
func BenchmarkThroughput(b *testing.B) {
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

func newInstantDevice(b *testing.B) usb.Device {
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
	conn, err := net.Dial("tcp", answer())
	if err != nil {
		b.Fatal(err)
	}
	imported, err := usbip.Import(b.Context(), conn, "instant")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { imported.Close() })
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
