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

// socket is a UDP socket that is shared as the agent shares its own: STUN goes
// through the door that it is as a net.PacketConn, everything else to data.
type socket struct {
	*net.UDPConn
	door   chan datagram
	data   chan datagram
	read   *deadline.Deadline
	walled atomic.Bool // a firewall takes all packets
	done   chan struct{}
	closed sync.Once
	joined sync.WaitGroup
}

type datagram struct {
	b    []byte
	from netip.AddrPort
}

func newSocket(u *net.UDPConn) *socket {
	s := &socket{
		UDPConn: u, door: make(chan datagram, 256), data: make(chan datagram, 256),
		read: deadline.New(), done: make(chan struct{}),
	}
	s.joined.Go(s.sort)
	return s
}

func (s *socket) sort() {
	buf := make([]byte, 2048)
	for {
		n, from, err := s.UDPConn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if s.walled.Load() {
			continue
		}
		to := s.data
		if stun.IsMessage(buf[:n]) {
			to = s.door
		}
		select {
		case to <- datagram{append([]byte(nil), buf[:n]...), from}:
		default:
		}
	}
}

func (s *socket) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-s.door:
		return copy(b, d.b), net.UDPAddrFromAddrPort(d.from), nil
	case <-s.read.Done():
		return 0, nil, os.ErrDeadlineExceeded
	case <-s.done:
		return 0, nil, net.ErrClosed
	}
}

func (s *socket) SetReadDeadline(t time.Time) error { s.read.Set(t); return nil }

func (s *socket) WriteTo(b []byte, to net.Addr) (int, error) {
	if s.walled.Load() {
		return len(b), nil
	}
	return s.UDPConn.WriteTo(b, to)
}

// Close closes the door and leaves the socket, which is QUIC's, alone.
func (s *socket) Close() error { s.closed.Do(func() { close(s.done) }); return nil }

func (s *socket) end() {
	_ = s.Close()
	_ = s.UDPConn.Close()
	s.joined.Wait()
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
