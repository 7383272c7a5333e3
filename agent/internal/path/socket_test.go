package path_test

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/stun"
	"github.com/pion/transport/v2/deadline"
)

// socket is a UDP socket that is shared like that of the agent. As a
// net.PacketConn it carries STUN packets. All other packets go to data.
type socket struct {
	*net.UDPConn
	stun    chan datagram
	data    chan datagram
	read    *deadline.Deadline
	blocked atomic.Bool // a firewall drops all packets
	done    chan struct{}
	closed  sync.Once
	reader  sync.WaitGroup
}

type datagram struct {
	b    []byte
	from netip.AddrPort
}

func newSocket(u *net.UDPConn) *socket {
	s := &socket{
		UDPConn: u, stun: make(chan datagram, 256), data: make(chan datagram, 256),
		read: deadline.New(), done: make(chan struct{}),
	}
	s.reader.Go(s.readAll)
	return s
}

// readAll sorts the packets into the two channels.
func (s *socket) readAll() {
	buf := make([]byte, 2048)
	for {
		n, from, err := s.UDPConn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if s.blocked.Load() {
			continue
		}
		to := s.data
		if stun.IsMessage(buf[:n]) {
			to = s.stun
		}
		select {
		case to <- datagram{append([]byte(nil), buf[:n]...), from}:
		default:
		}
	}
}

func (s *socket) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-s.stun:
		return copy(b, d.b), net.UDPAddrFromAddrPort(d.from), nil
	case <-s.read.Done():
		return 0, nil, os.ErrDeadlineExceeded
	case <-s.done:
		return 0, nil, net.ErrClosed
	}
}

func (s *socket) SetReadDeadline(t time.Time) error { s.read.Set(t); return nil }

func (s *socket) WriteTo(b []byte, to net.Addr) (int, error) {
	if s.blocked.Load() {
		return len(b), nil
	}
	return s.UDPConn.WriteTo(b, to)
}

// Close ends ReadFrom. The socket, which QUIC uses too, stays open.
func (s *socket) Close() error { s.closed.Do(func() { close(s.done) }); return nil }

func (s *socket) end() {
	_ = s.Close()
	_ = s.UDPConn.Close()
	s.reader.Wait()
}

func listen(t *testing.T, addr string) *socket {
	t.Helper()
	at, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	u, err := net.ListenUDP("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	s := newSocket(u)
	t.Cleanup(s.end)
	return s
}
