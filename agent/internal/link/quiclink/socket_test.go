package quiclink

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// A STUN binding request (RFC 5389 section 6) to look at.
var stunLike = append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...)

func TestICEAndQUICShareTheSocket(t *testing.T) {
	from, to := newAgent(t, nil), newAgent(t, nil)
	near, far := from.NonQUIC(), to.NonQUIC()
	if _, ok := near.LocalAddr().(*net.UDPAddr); !ok || near.LocalAddr().String() != from.addr().String() {
		t.Errorf("local address %v", near.LocalAddr())
	}
	type packet struct {
		b    []byte
		from net.Addr
	}
	packets := make(chan packet, 64)
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		b := make([]byte, 2048)
		for {
			n, addr, err := far.ReadFrom(b)
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("read: %v", err)
				}
				return
			}
			packets <- packet{append([]byte(nil), b[:n]...), addr}
		}
	}()
	dialer, acceptor := dial(t, from, to)
	linktest.Start(t, acceptor, ignore)
	linktest.Start(t, dialer, ignore)
	var got packet
	again := time.NewTicker(20 * time.Millisecond) // what comes before the reader is dropped
	defer again.Stop()
	for got.b == nil {
		if _, err := near.WriteTo(stunLike, to.addr()); err != nil {
			t.Fatal(err)
		}
		if err := dialer.Send(linktest.Frame(tunnel.LaneSession, 1, 10)); err != nil {
			t.Fatal(err)
		}
		select {
		case got = <-packets:
		case <-again.C:
		}
	}
	if string(got.b) != string(stunLike) || got.from.String() != from.addr().String() {
		t.Errorf("got %x from %v", got.b, got.from)
	}
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	linktest.Within(t, reading, "the read to end after Close")
	if _, err := far.WriteTo(stunLike, from.addr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
	if err := dialer.Send(linktest.Frame(tunnel.LaneSession, 2, 10)); err != nil {
		t.Errorf("closing ICE's side ended a link: %v", err)
	}
}

func TestFailuresOfTheSocket(t *testing.T) {
	for err, want := range map[error]bool{
		syscall.ENETUNREACH: true, syscall.ENOBUFS: true, syscall.EPERM: true,
		syscall.EMSGSIZE: false, syscall.EIO: false, net.ErrClosed: false,
	} {
		if got := transient(&net.OpError{Op: "write", Net: "udp", Err: os.NewSyscallError("sendmsg", err)}); got != want {
			t.Errorf("%v is a lost packet: %v, want %v", err, got, want)
		}
	}
	if transient(nil) {
		t.Error("success is a lost packet")
	}
}

func TestMissingRouteIsExplained(t *testing.T) {
	err := &DialError{Remote: "[2001:db8::1]:9", Err: &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ENETUNREACH)}}
	if got := err.Explain(); got != "this machine has no route to [2001:db8::1]:9" {
		t.Errorf("explained as %q", got)
	}
}

func TestReadDeadlineMovesWhileReading(t *testing.T) {
	c := newAgent(t, nil).NonQUIC()
	ended := make(chan error, 1)
	go func() {
		_, _, err := c.ReadFrom(make([]byte, 100))
		ended <- err
	}()
	for _, at := range []time.Time{time.Now().Add(time.Hour), {}, time.Now().Add(-time.Second)} {
		if err := c.SetReadDeadline(at); err != nil {
			t.Fatal(err)
		}
	}
	if err := linktest.Within(t, ended, "a read whose deadline is over"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _, err := c.ReadFrom(make([]byte, 100))
		ended <- err
	}()
	_ = c.Close()
	if err := linktest.Within(t, ended, "a read after Close"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read: %v", err)
	}
}

func TestStoppedEndpointEndsWhatItMade(t *testing.T) {
	key, err := ident.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewEndpoint(Config{
		Key: key, Listen: "127.0.0.1:0", Accept: func(link.Link) {},
		Trust: func(ident.PeerID) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	to := newAgent(t, nil)
	l, err := e.Dial(linktest.Context(t), to.addr(), to.id, link.Path{})
	if err != nil {
		t.Fatal(err)
	}
	far := linktest.Start(t, linktest.Within(t, to.accepted, "the link to be accepted"), ignore)
	read := make(chan error, 1)
	go func() {
		_, _, err := e.NonQUIC().ReadFrom(make([]byte, 100))
		read <- err
	}()
	waiting := make(chan error, 1)
	go func() { // nobody answers
		_, err := e.DialOver(context.Background(), loopback(t), to.addr(), ident.PeerID{9}, link.Path{})
		waiting <- err
	}()
	cancel()
	if err := linktest.Within(t, ended, "Run"); err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := linktest.Within(t, linktest.Start(t, l, ignore), "a link's Run"); err == nil {
		t.Error("the link goes on")
	}
	if closed, ok := errors.AsType[*link.ClosedError](linktest.Within(t, far, "the far end")); !ok || closed.Reason != "the agent is stopping" {
		t.Errorf("the far end is told %v", closed)
	}
	if err := linktest.Within(t, read, "a read of the socket"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if err := linktest.Within(t, waiting, "a dial"); err == nil {
		t.Error("the dial went on")
	}
	if _, err := e.Dial(linktest.Context(t), to.addr(), to.id, link.Path{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("dial after the end: %v", err)
	}
}

// packetPipe is a packet connection in memory that can fail and be cut.
type packetPipe struct {
	name string
	in   chan []byte
	out  chan []byte
	gone chan struct{}
	once sync.Once

	mu   sync.Mutex
	fail error // guarded by mu: of writes
	cut  bool  // guarded by mu: writes vanish
}

type pipeAddr string

func (pipeAddr) Network() string  { return "memory" }
func (a pipeAddr) String() string { return string(a) }

func packetPipes() (near, far *packetPipe) {
	a, b := make(chan []byte, 256), make(chan []byte, 256)
	return &packetPipe{name: "near", in: a, out: b, gone: make(chan struct{})},
		&packetPipe{name: "far", in: b, out: a, gone: make(chan struct{})}
}

func (p *packetPipe) ReadFrom(b []byte) (int, net.Addr, error) {
	from := pipeAddr("far")
	if p.name == "far" {
		from = "near"
	}
	select {
	case got := <-p.in:
		return copy(b, got), from, nil
	case <-p.gone:
		return 0, nil, net.ErrClosed
	}
}

func (p *packetPipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	p.mu.Lock()
	fail, cut := p.fail, p.cut
	p.mu.Unlock()
	if fail != nil {
		return 0, fail
	}
	if !cut {
		select {
		case p.out <- append([]byte(nil), b...):
		default: // lost
		}
	}
	return len(b), nil
}

func (p *packetPipe) set(fail error, cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail, p.cut = fail, cut
}

func (p *packetPipe) Close() error                     { p.once.Do(func() { close(p.gone) }); return nil }
func (p *packetPipe) LocalAddr() net.Addr              { return pipeAddr(p.name) }
func (p *packetPipe) SetDeadline(time.Time) error      { return nil } // as relays have them
func (p *packetPipe) SetReadDeadline(time.Time) error  { return nil }
func (p *packetPipe) SetWriteDeadline(time.Time) error { return nil }

// overPipes makes a link over two pipes between endpoints that do not run.
func overPipes(t *testing.T, near, far *packetPipe) (dialer, acceptor link.Link, stop func()) {
	t.Helper()
	var ends [2]*Endpoint
	var ids [2]ident.PeerID
	for i := range ends {
		key, err := ident.NewKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = key.ID()
		ends[i], err = NewEndpoint(Config{
			Key: key, Listen: "127.0.0.1:0", Accept: func(link.Link) {},
			Trust: func(ident.PeerID) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	listened := make(chan link.Link, 1)
	go func() {
		l, err := ends[1].ListenOver(t.Context(), far, pipeAddr("near"), ids[0], link.Path{Rank: link.RankRelayTCP})
		if err != nil {
			t.Error(err)
		}
		listened <- l
	}()
	dialer, err := ends[0].DialOver(t.Context(), near, pipeAddr("far"), ids[1], link.Path{Rank: link.RankRelayTCP})
	if err != nil {
		t.Fatal(err)
	}
	return dialer, <-listened, func() {
		for _, e := range ends {
			e.shutDown()
		}
	}
}

func TestDeadPathIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := packetPipes()
		dialer, acceptor, stop := overPipes(t, near, far)
		defer stop()
		ended := make(chan error, 2)
		for _, l := range []link.Link{dialer, acceptor} {
			go func() { ended <- l.Run(t.Context(), ignore) }()
		}
		select {
		case err := <-ended:
			t.Fatalf("a link on which nobody spoke ended: %v", err)
		case <-time.After(time.Hour):
		}
		near.set(nil, true)
		far.set(nil, true)
		began := time.Now()
		for range 2 {
			if err := <-ended; !errors.Is(err, link.ErrSilent) || time.Since(began) > 9500*time.Millisecond {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		}
	})
}

func TestFailedWritesAreLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := packetPipes()
		dialer, acceptor, stop := overPipes(t, near, far)
		defer stop()
		arrived, ended := make(chan uint64, 8), make(chan error, 2)
		go func() { ended <- dialer.Run(t.Context(), ignore) }()
		go func() {
			ended <- acceptor.Run(t.Context(), func(f tunnel.Frame) error { arrived <- f.Seq; return nil })
		}()
		near.set(syscall.ENETUNREACH, false)
		if err := dialer.Send(linktest.Frame(tunnel.LaneSession, 1, 1000)); err != nil {
			t.Fatal(err)
		}
		// The network is gone for a while. Probes go after 0.2, 0.6, 1.4 and 3 s here
		// (RFC 9002, 6.2: the pipes have no round trip to measure), the next one after
		// the end of the link's patience.
		<-time.After(2 * time.Second)
		near.set(nil, false)
		select {
		case <-arrived:
		case err := <-ended:
			t.Fatalf("a network that came back found the link ended: %v", err)
		}
		dialer.Close("")
		<-ended
		<-ended
	})
}
