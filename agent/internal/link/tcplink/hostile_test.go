package tcplink

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// An attacker who changes a byte of a link ends it, and the frame is not delivered.
func TestTamperingEndsLink(t *testing.T) {
	eachMode(t, func(t *testing.T, mode Mode) {
		s := newServer(t, mode, anyone)
		var attack atomic.Bool
		proxy := linktest.TCPProxy(t, s.Addr().String(), func(toTarget bool, b []byte) {
			if toTarget && attack.Load() && len(b) > 60 {
				b[len(b)-20] ^= 1
			}
		})
		dialer, err := Dialer{Key: newKey(t)}.Dial(linktest.Context(t), mode, proxy, s.id)
		if err != nil {
			t.Fatal(err)
		}
		acceptor := linktest.Within(t, s.accepted, "the link to be accepted")
		arrived := make(chan tunnel.Frame, 8)
		ended := linktest.Start(t, acceptor, func(f tunnel.Frame) error { arrived <- f; return nil })
		linktest.Start(t, dialer, ignore)
		if err := dialer.Send(linktest.Frame(tunnel.LaneSession, 1, 500)); err != nil {
			t.Fatal(err)
		}
		linktest.Within(t, arrived, "the frame before the attack")
		attack.Store(true)
		if err := dialer.Send(linktest.Frame(tunnel.LaneSession, 2, 500)); err != nil {
			t.Fatal(err)
		}
		if err := linktest.Within(t, ended, "the link to end"); err == nil {
			t.Error("the link ended without an error")
		}
		if len(arrived) > 0 {
			t.Error("the changed frame was delivered")
		}
	})
}

// rawJoin joins a connection to a link as a trusted dialer, and returns the
// connection for bytes that no honest dialer sends.
func rawJoin(t *testing.T, mode Mode, s *server, key ident.Key, j join) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	security, err := newSecurity(mode, sideDialer, key, anyone)
	if err != nil {
		t.Fatal(err)
	}
	secure, _, err := security.secure(linktest.Context(t), conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := secure.Write(j.encode()); err != nil {
		t.Fatal(err)
	}
	return secure
}

func TestMalformedRecordsEndLink(t *testing.T) {
	header := func(size uint32, lane tunnel.Lane, seq uint64, kind tunnel.Kind) []byte {
		b := binary.BigEndian.AppendUint32(nil, size)
		b = binary.BigEndian.AppendUint32(b, uint32(lane))
		return append(binary.BigEndian.AppendUint64(b, seq), byte(kind))
	}
	var manyLanes []byte
	for i := range tunnel.MaxLanes + 1 {
		manyLanes = append(manyLanes, laneRecord(recordMove, tunnel.Lane(0x101+i))...)
	}
	for name, c := range map[string]struct {
		on role
		b  []byte
	}{
		"unknown record":        {roleInteractive, []byte{77}},
		"frame above the bound": {roleInteractive, header(tunnel.MaxFrame+1, 0x181, 1, tunnel.KindSubmit)},
		"large frame on lane 1": {roleBulk, header(tunnel.MaxControl+1, tunnel.LaneSession, 1, tunnel.KindDevices)},
		"unknown lane":          {roleInteractive, header(1, 0x42, 1, tunnel.KindSubmit)},
		"move on bulk":          {roleBulk, laneRecord(recordMove, 0x181)},
		"end on interactive":    {roleInteractive, laneRecord(recordEnd, 0x181)},
		"too many lanes":        {roleInteractive, manyLanes},
	} {
		t.Run(name, func(t *testing.T) {
			s, key := newServer(t, Plain, anyone), newKey(t)
			conns := [roles]net.Conn{
				rawJoin(t, Plain, s, key, join{role: roleInteractive}),
				rawJoin(t, Plain, s, key, join{role: roleBulk}),
			}
			l := linktest.Within(t, s.accepted, "the link to be accepted")
			ended := linktest.Start(t, l, func(tunnel.Frame) error {
				t.Error("a frame was delivered")
				return nil
			})
			if _, err := conns[c.on].Write(c.b); err != nil {
				t.Fatal(err)
			}
			if err := linktest.Within(t, ended, "the link to end"); !errors.Is(err, tunnel.ErrMalformed) {
				t.Errorf("the link ended with %v", err)
			}
			reason, _ := io.ReadAll(conns[roleInteractive]) // ends with the connection, cleanly or not
			if !bytes.Contains(reason, []byte(tunnel.ErrMalformed.Error())) {
				t.Errorf("the peer received %q", reason)
			}
		})
	}
}

func TestJoinOfAnotherPeerDoesNotCompleteLink(t *testing.T) {
	eachMode(t, func(t *testing.T, mode Mode) {
		s := newServer(t, mode, anyone)
		honest := newKey(t)
		rawJoin(t, mode, s, honest, join{role: roleInteractive})
		rawJoin(t, mode, s, newKey(t), join{role: roleBulk}) // the same link, another key
		second := rawJoin(t, mode, s, honest, join{role: roleInteractive})
		if _, err := second.Read(make([]byte, 1)); err == nil {
			t.Error("a second interactive connection of the link was accepted")
		}
		rawJoin(t, mode, s, honest, join{role: roleBulk})
		if l := linktest.Within(t, s.accepted, "the honest link"); l.Info().Peer != honest.ID() {
			t.Errorf("the link has the peer %s", l.Info().Peer)
		} else {
			l.Close("the test is over")
		}
		if len(s.accepted) > 0 {
			t.Error("another link was accepted")
		}
	})
}

func TestPendingConnectionsAreBounded(t *testing.T) {
	s := newServer(t, TLS, anyone)
	for i := range maxPendingPerHost + 4 {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			_, _ = conn.Read(make([]byte, 1))
		}()
		if i >= maxPendingPerHost {
			linktest.Within(t, closed, "a connection above the bound to be closed")
		}
	}
}

func TestPendingConnectionsTimeOut(t *testing.T) {
	s := newServer(t, Plain, anyone)
	silent, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	alone := rawJoin(t, Plain, s, newKey(t), join{role: roleBulk})
	for _, conn := range []net.Conn{silent, alone} {
		gone := make(chan error, 1)
		go func() {
			_, err := conn.Read(make([]byte, 1))
			gone <- err
		}()
		if err := linktest.Within(t, gone, "a pending connection to be closed"); err == nil {
			t.Error("the listener answered")
		}
	}
}

func TestEndedLaneBeginsAgain(t *testing.T) {
	dialer, acceptor := dial(t, TLS)
	arrived := make(chan uint64, 64)
	linktest.Start(t, acceptor, func(f tunnel.Frame) error { arrived <- f.Seq; return nil })
	linktest.Start(t, dialer, ignore)
	lane := tunnel.EndpointLane(1, 0x81)
	seq := uint64(0)
	for range 20 {
		for _, size := range []int{10, 8000, 10} {
			seq++
			if err := dialer.Send(linktest.Frame(lane, seq, size)); err != nil {
				t.Fatal(err)
			}
		}
		dialer.EndLane(lane)
	}
	for want := uint64(1); want <= seq; want++ {
		if got := linktest.Within(t, arrived, "the next frame"); got != want {
			t.Fatalf("frame %d arrived, want %d", got, want)
		}
	}
}

func TestStatsOfPlainLink(t *testing.T) {
	dialer, acceptor := dial(t, Plain)
	linktest.Start(t, acceptor, ignore)
	linktest.Start(t, dialer, ignore)
	if err := dialer.Send(linktest.Frame(tunnel.LaneSession, 1, 1000)); err != nil {
		t.Fatal(err)
	}
	if s := dialer.Stats(); s.BytesSent < 1000 || s.Loss < 0 || s.Loss > 1 {
		t.Errorf("stats: %+v", s)
	}
	if p := dialer.Info().Path; p.Encrypted || p.Transport != "tcp" || p.Rank != link.RankPlainTCP {
		t.Errorf("path: %+v", p)
	}
}
