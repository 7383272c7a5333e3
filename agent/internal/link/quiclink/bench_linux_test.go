package quiclink

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/deploy/e2e/lab"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

var (
	benchLink     = flag.Bool("bench-link", false, "measure QUIC links and TCP over emulated links")
	benchLinkTime = flag.Duration("bench-link-time", 8*time.Second, "length of each measurement")
	benchLinkOnly = flag.String("bench-link-only", "", "measure only the conditions whose name contains this")
)

// condition is an emulated link.
type condition struct {
	name string
	lab.Impair
}

const ms = time.Millisecond

var conditions = []condition{
	{"50 Mbit/s, 50 ms", lab.Impair{Rate: 50, Delay: 25 * ms}},
	{"50 Mbit/s, 50 ms, 1 % loss", lab.Impair{Rate: 50, Delay: 25 * ms, Loss: 0.01}},
	{"50 Mbit/s, 50 ms, 2 % loss", lab.Impair{Rate: 50, Delay: 25 * ms, Loss: 0.02}},
	{"50 Mbit/s, 60 ms, jitter 20 ms", lab.Impair{Rate: 50, Delay: 30 * ms, Jitter: 20 * ms}},
	{
		"50 Mbit/s, 60 ms, jitter 20 ms, 1 % loss in bursts of 5",
		lab.Impair{Rate: 50, Delay: 30 * ms, Jitter: 20 * ms, Loss: 0.01, Burst: 5},
	},
	{"50 Mbit/s, 50 ms, queue 10 ms", lab.Impair{Rate: 50, Delay: 25 * ms, Queue: 10 * ms}},
	{"50 Mbit/s, 50 ms, queue 500 ms", lab.Impair{Rate: 50, Delay: 25 * ms, Queue: 500 * ms}},
	{"500 Mbit/s, 50 ms", lab.Impair{Rate: 500, Delay: 25 * ms}},
}

// TestBenchLink measures the goodput of a QUIC link and of TCP connections over the same
// emulated links, in the first second and after it.
func TestBenchLink(t *testing.T) {
	if !*benchLink {
		t.Skip("a benchmark, run by make bench-link")
	}
	fmt.Printf("%-58s %-17s %-17s %-17s\n", "Mbit/s in the first second, then", "QUIC link", "TCP CUBIC", "TCP BBR")
	for _, c := range conditions {
		if !strings.Contains(c.name, *benchLinkOnly) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			l := lab.Start(t, &lab.Topology{Prefix: "ef-link-", Seed: 1, Nodes: []lab.Node{
				{Name: "inet", LAN: []string{"198.51.100.1/24"}},
				{Name: "a", Via: "inet", Addr: []string{"198.51.100.10/24"}, Link: &lab.Link{Impair: c.Impair}},
				{Name: "b", Via: "inet", Addr: []string{"198.51.100.20/24"}},
			}})
			row := fmt.Sprintf("%-58s", c.name)
			for _, measure := range []func(*testing.T, *lab.Lab) goodput{
				measureQUIC, measureTCP("cubic"),
				measureTCP("bbr"),
			} {
				g := measure(t, l)
				row += fmt.Sprintf(" %6.1f %6.1f    ", g.first, g.rest)
			}
			fmt.Println(row)
		})
	}
}

// goodput is in Mbit/s, in the first second and in the rest of the time.
type goodput struct{ first, rest float64 }

// watch measures the growth of a number of bytes. It fails the test if the transfer ends.
func watch(t *testing.T, count *atomic.Int64, ended <-chan error) goodput {
	t.Helper()
	wait := func(d time.Duration) float64 {
		before, timer := count.Load(), time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case err := <-ended:
			t.Fatalf("the transfer has ended: %v", err)
		}
		return float64(count.Load()-before) * 8 / d.Seconds() / 1e6
	}
	return goodput{wait(time.Second), wait(*benchLinkTime)}
}

func measureQUIC(t *testing.T, l *lab.Lab) goodput {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	accepted := make(chan link.Link, 1)
	endpoint := func(node, listen string) (e *Endpoint, id ident.PeerID) {
		key, err := ident.NewKey(rand.Reader)
		if err == nil {
			err = l.Do(node, func() (err error) {
				e, err = NewEndpoint(Config{
					Key: key, Listen: listen, Trust: func(ident.PeerID) error { return nil },
					Accept: func(in link.Link) { accepted <- in },
				})
				return err
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		linktest.Serve(t, e.Run)
		return e, key.ID()
	}
	b, id := endpoint("b", "198.51.100.20:7000")
	a, _ := endpoint("a", "198.51.100.10:7000")
	out, err := a.Dial(linktest.Context(t), b.LocalAddr().(*net.UDPAddr), id, link.Path{Rank: link.RankHost})
	if err != nil {
		t.Fatal(err)
	}
	in := linktest.Within(t, accepted, "the link to be accepted")
	var count atomic.Int64
	ended := make(chan error, 3)
	go func() {
		ended <- in.Run(ctx, func(f tunnel.Frame) error { count.Add(int64(len(f.Body))); return nil })
	}()
	go func() { ended <- out.Run(ctx, func(tunnel.Frame) error { return nil }) }()
	go func() {
		frame := tunnel.Frame{Lane: tunnel.EndpointLane(1, 0x81), Kind: tunnel.KindComplete, Body: make([]byte, 64<<10)}
		for {
			frame.Seq++
			if err := out.Send(frame); err != nil {
				ended <- err
				return
			}
		}
	}()
	g := watch(t, &count, ended)
	out.Close("measured")
	cancel()
	for range cap(ended) {
		<-ended
	}
	return g
}

func measureTCP(congestion string) func(t *testing.T, l *lab.Lab) goodput {
	return func(t *testing.T, l *lab.Lab) goodput {
		t.Helper()
		var ln net.Listener
		var out net.Conn
		if err := l.Do("b", func() (err error) {
			ln, err = net.Listen("tcp4", "198.51.100.20:7001")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
			if failed := c.Control(func(fd uintptr) {
				err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, congestion)
			}); failed != nil {
				return failed
			}
			return err
		}}
		if err := l.Do("a", func() (err error) {
			out, err = dialer.DialContext(t.Context(), "tcp4", ln.Addr().String())
			return err
		}); err != nil {
			t.Skipf("TCP with %s: %v", congestion, err)
		}
		in, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		var count atomic.Int64
		ended := make(chan error, 2)
		go func() {
			for buf := make([]byte, 256<<10); ; {
				n, err := in.Read(buf)
				count.Add(int64(n))
				if err != nil {
					ended <- err
					return
				}
			}
		}()
		go func() {
			for body := make([]byte, 64<<10); ; {
				if _, err := out.Write(body); err != nil {
					ended <- err
					return
				}
			}
		}()
		g := watch(t, &count, ended)
		out.Close()
		in.Close()
		for range cap(ended) {
			<-ended
		}
		return g
	}
}
