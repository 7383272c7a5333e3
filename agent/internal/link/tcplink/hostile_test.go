package tcplink

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

func eachMode(t *testing.T, test func(t *testing.T, mode Mode)) {
	for _, mode := range bothModes {
		t.Run(mode.String(), func(t *testing.T) { test(t, mode) })
	}
}

func TestDialRefusesAnotherPeer(t *testing.T) {
	eachMode(t, func(t *testing.T, mode Mode) {
		s := newServer(t, mode, anyone)
		_, err := Dialer{Key: newKey(t)}.Dial(linktest.Context(t), mode, s.Addr().String(), newKey(t).ID())
		failed, ok := errors.AsType[*DialError](err)
		if !ok || !errors.Is(err, ident.ErrUntrusted) {
			t.Fatalf("error %v", err)
		}
		if !strings.Contains(failed.Explain(), "somebody answers who is not this peer") {
			t.Errorf("explained as %q", failed.Explain())
		}
	})
}

func TestListenerRefusesWhoIsNotTrusted(t *testing.T) {
	eachMode(t, func(t *testing.T, mode Mode) {
		s := newServer(t, mode, func(ident.PeerID) error { return errors.New("not paired") })
		l, err := Dialer{Key: newKey(t)}.Dial(linktest.Context(t), mode, s.Addr().String(), s.id)
		if err == nil {
			err = linktest.Within(t, linktest.Start(t, l, func(tunnel.Frame) error { return nil }), "the link to end")
		}
		if err == nil {
			t.Error("an untrusted dialer was told nothing")
		}
		if len(s.accepted) > 0 {
			t.Error("an untrusted dialer's link was accepted")
		}
	})
}

func TestNobodyListens(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	_, err = Dialer{Key: newKey(t)}.Dial(linktest.Context(t), TLS, gone.Addr().String(), newKey(t).ID())
	if failed, ok := errors.AsType[*DialError](err); !ok || !strings.Contains(failed.Explain(), "nobody listens at") {
		t.Errorf("error %v", err)
	}
}

func TestModesDoNotMix(t *testing.T) {
	s := newServer(t, TLS, anyone)
	if _, err := (Dialer{Key: newKey(t)}).Dial(linktest.Context(t), Plain, s.Addr().String(), s.id); err == nil {
		t.Error("a plain link came to be with a TLS listener")
	}
}

// Whatever bit is flipped in the handshake, no link comes to be that delivers.
func TestHandshakeThatIsTamperedWithFails(t *testing.T) {
	eachMode(t, func(t *testing.T, mode Mode) {
		for _, at := range []int{0, 9, 40, 80, 103, 110, 150, 200} {
			for _, toTarget := range []bool{true, false} {
				t.Run(fmt.Sprint(at, toTarget), func(t *testing.T) {
					s := newServer(t, mode, anyone)
					var passed [2]atomic.Int64
					proxy := linktest.TCPProxy(t, s.Addr().String(), func(to bool, b []byte) {
						way := &passed[0]
						if to {
							way = &passed[1]
						}
						before := int(way.Add(int64(len(b)))) - len(b)
						if to == toTarget && at >= before && at < before+len(b) {
							b[at-before] ^= 0x10
						}
					})
					l, err := Dialer{Key: newKey(t)}.Dial(linktest.Context(t), mode, proxy, s.id)
					if err != nil {
						return
					}
					if err := linktest.Within(t, linktest.Start(t, l, func(tunnel.Frame) error { return nil }), "the link to end"); err == nil {
						t.Error("the link ended without a reason")
					}
					if len(s.accepted) > 0 {
						t.Error("a handshake that was tampered with was accepted")
					}
				})
			}
		}
	})
}

// Once the link is up every changed byte ends it, and nothing wrong arrives.
func TestTamperingEndsTheLink(t *testing.T) {
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
		linktest.Start(t, dialer, func(tunnel.Frame) error { return nil })
		if err := dialer.Send(linktest.Frame(tunnel.LaneSession, 1, 500)); err != nil {
			t.Fatal(err)
		}
		linktest.Within(t, arrived, "the frame before the attack")
		attack.Store(true)
		if err := dialer.Send(linktest.Frame(tunnel.LaneSession, 2, 500)); err != nil {
			t.Fatal(err)
		}
		if err := linktest.Within(t, ended, "the link to end"); err == nil {
			t.Error("the link ended without a reason")
		}
		if len(arrived) > 0 {
			t.Error("a frame that was changed on its way was delivered")
		}
	})
}

// raw is a hostile dialer that has a trusted key: it may write what it likes.
func raw(t *testing.T, mode Mode, s *server, key ident.Key, j join) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	var secure net.Conn
	if mode == Plain {
		secure, _, err = plainDial(conn, key, anyone)
	} else {
		cfg, cerr := ident.MutualTLS(key, alpn, anyone)
		if cerr != nil {
			t.Fatal(cerr)
		}
		secure = tls.Client(conn, cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := secure.Write(j.encode()); err != nil {
		t.Fatal(err)
	}
	return secure
}

func TestMalformedRecordsEndTheLink(t *testing.T) {
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
		"unknown record":          {roleInteractive, []byte{77}},
		"frame that is too large": {roleInteractive, header(tunnel.MaxFrame+1, 0x181, 1, tunnel.KindSubmit)},
		"control that is large":   {roleBulk, header(tunnel.MaxControl+1, tunnel.LaneSession, 1, tunnel.KindDevices)},
		"lane that is none":       {roleInteractive, header(1, 0x42, 1, tunnel.KindSubmit)},
		"move on bulk":            {roleBulk, laneRecord(recordMove, 0x181)},
		"end on interactive":      {roleInteractive, laneRecord(recordEnd, 0x181)},
		"too many lanes":          {roleInteractive, manyLanes},
	} {
		t.Run(name, func(t *testing.T) {
			s, key := newServer(t, Plain, anyone), newKey(t)
			conns := [roles]net.Conn{
				raw(t, Plain, s, key, join{role: roleInteractive}), raw(t, Plain, s, key, join{role: roleBulk}),
			}
			ended := linktest.Start(t, linktest.Within(t, s.accepted, "the link to be accepted"), func(tunnel.Frame) error {
				t.Error("something was delivered")
				return nil
			})
			if _, err := conns[c.on].Write(c.b); err != nil {
				t.Fatal(err)
			}
			if err := linktest.Within(t, ended, "the link to end"); !errors.Is(err, tunnel.ErrMalformed) {
				t.Errorf("the link ended with %v", err)
			}
			told, _ := io.ReadAll(conns[roleInteractive]) // ends with the connection, cleanly or not
			if !bytes.Contains(told, []byte(tunnel.ErrMalformed.Error())) {
				t.Errorf("the other end is told %q", told)
			}
		})
	}
}

func TestJoinOfAnotherPeerDoesNotCompleteALink(t *testing.T) {
	eachMode(t, func(t *testing.T, mode Mode) {
		s := newServer(t, mode, anyone)
		honest := newKey(t)
		raw(t, mode, s, honest, join{role: roleInteractive})
		raw(t, mode, s, newKey(t), join{role: roleBulk}) // the same link, another key
		second := raw(t, mode, s, honest, join{role: roleInteractive})
		if _, err := second.Read(make([]byte, 1)); err == nil {
			t.Error("a link's second interactive connection was kept")
		}
		raw(t, mode, s, honest, join{role: roleBulk})
		if l := linktest.Within(t, s.accepted, "the honest link"); l.Info().Peer != honest.ID() {
			t.Errorf("the link is %s's", l.Info().Peer)
		} else {
			l.Close("the test is over")
		}
		if len(s.accepted) > 0 {
			t.Error("another link was accepted")
		}
	})
}

func TestStrangersAreBounded(t *testing.T) {
	s := newServer(t, TLS, anyone)
	for i := range maxHalfOpenHost + 4 {
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
		if i >= maxHalfOpenHost {
			linktest.Within(t, closed, "a stranger too many to be turned away")
		}
	}
}

func TestHalfOpenConnectionsAreGivenUp(t *testing.T) {
	s := newServer(t, Plain, anyone)
	silent, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	alone := raw(t, Plain, s, newKey(t), join{role: roleBulk})
	for _, conn := range []net.Conn{silent, alone} {
		gone := make(chan error, 1)
		go func() {
			_, err := conn.Read(make([]byte, 1))
			gone <- err
		}()
		if err := linktest.Within(t, gone, "a connection that goes nowhere to be closed"); err == nil {
			t.Error("it was answered")
		}
	}
}

func TestEndedLaneMayBeginAgain(t *testing.T) {
	dialer, acceptor := dial(t, TLS)
	arrived := make(chan uint64, 64)
	linktest.Start(t, acceptor, func(f tunnel.Frame) error { arrived <- f.Seq; return nil })
	linktest.Start(t, dialer, func(tunnel.Frame) error { return nil })
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
			t.Fatalf("frame %d arrived where %d was due", got, want)
		}
	}
}

func TestCancelledDialEnds(t *testing.T) {
	eachMode(t, func(t *testing.T, mode Mode) {
		mute, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel and never answers
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = mute.Close() })
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() {
			_, err := Dialer{Key: newKey(t)}.Dial(ctx, mode, mute.Addr().String(), newKey(t).ID())
			ended <- err
		}()
		cancel()
		if err := linktest.Within(t, ended, "a cancelled Dial"); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

func TestStatsMeasure(t *testing.T) {
	dialer, acceptor := dial(t, Plain)
	linktest.Start(t, acceptor, func(tunnel.Frame) error { return nil })
	linktest.Start(t, dialer, func(tunnel.Frame) error { return nil })
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
