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

// stunRequest is a STUN binding request (RFC 5389 section 6).
var stunRequest = append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...)

func TestICEAndQUICShareSocket(t *testing.T) {
	from, to := newAgent(t, nil), newAgent(t, nil)
	sender, receiver := from.NonQUIC(), to.NonQUIC()
	if _, ok := sender.LocalAddr().(*net.UDPAddr); !ok || sender.LocalAddr().String() != from.addr().String() {
		t.Errorf("local address %v", sender.LocalAddr())
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
			n, addr, err := receiver.ReadFrom(b)
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
	retry := time.NewTicker(20 * time.Millisecond) // packets that arrive before the first read are dropped
	defer retry.Stop()
	for got.b == nil {
		if _, err := sender.WriteTo(stunRequest, to.addr()); err != nil {
			t.Fatal(err)
		}
		if err := dialer.Send(linktest.Frame(tunnel.LaneSession, 1, 10)); err != nil {
			t.Fatal(err)
		}
		select {
		case got = <-packets:
		case <-retry.C:
		}
	}
	if string(got.b) != string(stunRequest) || got.from.String() != from.addr().String() {
		t.Errorf("got %x from %v", got.b, got.from)
	}
	if err := receiver.Close(); err != nil {
		t.Fatal(err)
	}
	linktest.Within(t, reading, "the read to end after Close")
	if _, err := receiver.WriteTo(stunRequest, from.addr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
	if err := dialer.Send(linktest.Frame(tunnel.LaneSession, 2, 10)); err != nil {
		t.Errorf("Close of the connection for ICE ended a link: %v", err)
	}
}

func TestSocketErrorsThatCountAsLoss(t *testing.T) {
	for err, want := range map[error]bool{
		syscall.ENETUNREACH: true, syscall.ENOBUFS: true, syscall.EPERM: true,
		syscall.EMSGSIZE: false, syscall.EIO: false, net.ErrClosed: false,
	} {
		failed := &net.OpError{Op: "write", Net: "udp", Err: os.NewSyscallError("sendmsg", err)}
		if got := transient(failed); got != want {
			t.Errorf("%v counts as loss: %v, want %v", err, got, want)
		}
	}
	if transient(nil) {
		t.Error("success counts as loss")
	}
}

func TestMissingRouteIsExplained(t *testing.T) {
	unreachable := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ENETUNREACH)}
	err := &DialError{Remote: "[2001:db8::1]:9", Err: unreachable}
	if got := err.Explain(); got != "this machine has no route to [2001:db8::1]:9" {
		t.Errorf("explained as %q", got)
	}
}

func TestReadDeadlineChangesDuringRead(t *testing.T) {
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
	err := linktest.Within(t, ended, "a read with a deadline in the past to return")
	if !errors.Is(err, os.ErrDeadlineExceeded) {
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
	if err := linktest.Within(t, ended, "a read after Close to return"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read: %v", err)
	}
}

func TestStoppedEndpointEndsItsLinks(t *testing.T) {
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
	peerEnded := linktest.Start(t, linktest.Within(t, to.accepted, "the link to be accepted"), ignore)
	read := make(chan error, 1)
	go func() {
		_, _, err := e.NonQUIC().ReadFrom(make([]byte, 100))
		read <- err
	}()
	dialing := make(chan error, 1)
	go func() { // the peer does not answer
		_, err := e.DialOver(context.Background(), loopback(t), to.addr(), ident.PeerID{9}, link.Path{})
		dialing <- err
	}()
	cancel()
	if err := linktest.Within(t, ended, "Run to return"); err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := linktest.Within(t, linktest.Start(t, l, ignore), "the link's Run to return"); err == nil {
		t.Error("the link ended without an error")
	}
	err = linktest.Within(t, peerEnded, "the peer's Run to return")
	if closed, ok := errors.AsType[*link.ClosedError](err); !ok || closed.Reason != "the agent is stopping" {
		t.Errorf("the peer's Run returned %v", err)
	}
	if err := linktest.Within(t, read, "a read of the socket to return"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if err := linktest.Within(t, dialing, "a dial to return"); err == nil {
		t.Error("the dial made a link")
	}
	if _, err := e.Dial(linktest.Context(t), to.addr(), to.id, link.Path{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("dial after the end of Run: %v", err)
	}
}

// packetPipe is one side of a packet connection in memory.
type packetPipe struct {
	local, remote pipeAddr
	in, out       chan []byte
	closed        chan struct{}
	once          sync.Once

	shape *shape // nil: packets arrive at once

	mu   sync.Mutex
	fail error // guarded by mu: the error of writes
	drop bool  // guarded by mu: packets are lost
}

type pipeAddr string

func (pipeAddr) Network() string  { return "memory" }
func (a pipeAddr) String() string { return string(a) }

func packetPipes() (dialer, acceptor *packetPipe) {
	a, b := make(chan []byte, 256), make(chan []byte, 256)
	return &packetPipe{local: "dialer", remote: "acceptor", in: a, out: b, closed: make(chan struct{})},
		&packetPipe{local: "acceptor", remote: "dialer", in: b, out: a, closed: make(chan struct{})}
}

func (p *packetPipe) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case got := <-p.in:
		return copy(b, got), p.remote, nil
	case <-p.closed:
		return 0, nil, net.ErrClosed
	}
}

func (p *packetPipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	p.mu.Lock()
	fail, drop := p.fail, p.drop
	p.mu.Unlock()
	if fail != nil {
		return 0, fail
	}
	if drop {
		return len(b), nil
	}
	packet := append([]byte(nil), b...)
	deliver := func() {
		select {
		case p.out <- packet:
		default: // lost
		}
	}
	if p.shape != nil {
		p.shape.send(len(b), deliver)
	} else {
		deliver()
	}
	return len(b), nil
}

func (p *packetPipe) set(fail error, drop bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail, p.drop = fail, drop
}

func (p *packetPipe) Close() error                     { p.once.Do(func() { close(p.closed) }); return nil }
func (p *packetPipe) LocalAddr() net.Addr              { return p.local }
func (p *packetPipe) SetDeadline(time.Time) error      { return nil } // like a relayed connection
func (p *packetPipe) SetReadDeadline(time.Time) error  { return nil }
func (p *packetPipe) SetWriteDeadline(time.Time) error { return nil }

// linkOverPipes makes a link over two pipes. Its endpoints do not run.
func linkOverPipes(t *testing.T, dialerPipe, acceptorPipe *packetPipe) (dialer, acceptor link.Link, stop func()) {
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
		path := link.Path{Rank: link.RankRelayTCP}
		l, err := ends[1].ListenOver(t.Context(), acceptorPipe, acceptorPipe.remote, ids[0], path)
		if err != nil {
			t.Error(err)
		}
		listened <- l
	}()
	path := link.Path{Rank: link.RankRelayTCP}
	dialer, err := ends[0].DialOver(t.Context(), dialerPipe, dialerPipe.remote, ids[1], path)
	if err != nil {
		t.Fatal(err)
	}
	return dialer, <-listened, func() {
		for _, e := range ends {
			e.shutDown()
		}
	}
}

func TestDeadPathEndsLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialerPipe, acceptorPipe := packetPipes()
		dialer, acceptor, stop := linkOverPipes(t, dialerPipe, acceptorPipe)
		defer stop()
		ended := make(chan error, 2)
		for _, l := range []link.Link{dialer, acceptor} {
			go func() { ended <- l.Run(t.Context(), ignore) }()
		}
		select {
		case err := <-ended:
			t.Fatalf("an idle link ended: %v", err)
		case <-time.After(time.Hour):
		}
		dialerPipe.set(nil, true)
		acceptorPipe.set(nil, true)
		began := time.Now()
		for range 2 {
			err := <-ended
			took := time.Since(began)
			if !errors.Is(err, link.ErrSilent) || took > link.SilenceTimeout+500*time.Millisecond {
				t.Errorf("the link ended after %v: %v", took, err)
			}
		}
	})
}

func TestFailedWritesCountAsLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialerPipe, acceptorPipe := packetPipes()
		dialer, acceptor, stop := linkOverPipes(t, dialerPipe, acceptorPipe)
		defer stop()
		arrived, ended := make(chan uint64, 8), make(chan error, 2)
		go func() { ended <- dialer.Run(t.Context(), ignore) }()
		go func() {
			ended <- acceptor.Run(t.Context(), func(f tunnel.Frame) error { arrived <- f.Seq; return nil })
		}()
		dialerPipe.set(syscall.ENETUNREACH, false)
		if err := dialer.Send(linktest.Frame(tunnel.LaneSession, 1, 1000)); err != nil {
			t.Fatal(err)
		}
		// The network fails for a while. QUIC sends probes after 0.2, 0.6, 1.4 and 3 s,
		// because the pipes have no measurable round trip time (RFC 9002 section 6.2).
		// The next probe would come after the idle timeout.
		time.Sleep(2 * time.Second)
		dialerPipe.set(nil, false)
		select {
		case <-arrived:
		case err := <-ended:
			t.Fatalf("the link ended although the network works again: %v", err)
		}
		dialer.Close("")
		<-ended
		<-ended
	})
}
