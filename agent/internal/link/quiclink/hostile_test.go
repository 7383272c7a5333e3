package quiclink

import (
	"encoding/binary"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

func ignore(tunnel.Frame) error { return nil }

func TestDialRefusesAnotherPeer(t *testing.T) {
	from, to := newAgent(t, nil), newAgent(t, nil)
	_, err := from.Dial(linktest.Context(t), to.addr(), ident.PeerID{9}, link.Path{})
	failed, ok := errors.AsType[*DialError](err)
	if !ok || !strings.Contains(failed.Explain(), "another peer than the expected one answers") {
		t.Fatalf("error %v", err)
	}
	if len(to.accepted) > 0 {
		t.Error("the link was accepted")
	}
}

func TestEndpointRefusesUntrustedPeer(t *testing.T) {
	from, to := newAgent(t, nil), newAgent(t, func(ident.PeerID) error { return errors.New("not paired") })
	l, err := from.Dial(linktest.Context(t), to.addr(), to.id, link.Path{})
	if err == nil {
		err = linktest.Within(t, linktest.Start(t, l, ignore), "the link to end")
	}
	if err == nil || len(to.accepted) > 0 {
		t.Errorf("error %v, accepted %d", err, len(to.accepted))
	}
}

func TestListenOverRefusesAnotherPeer(t *testing.T) {
	from, to := newAgent(t, nil), newAgent(t, nil)
	fromConn, toConn := loopback(t), loopback(t)
	ctx := linktest.Context(t)
	listened := make(chan error, 1)
	go func() {
		_, err := to.ListenOver(ctx, toConn, fromConn.LocalAddr(), ident.PeerID{9}, link.Path{})
		listened <- err
	}()
	l, err := from.DialOver(ctx, fromConn, toConn.LocalAddr(), to.id, link.Path{})
	if err == nil {
		err = linktest.Within(t, linktest.Start(t, l, ignore), "the link to end")
	}
	if err == nil {
		t.Error("another peer than the expected one got a link")
	}
	select {
	case err := <-listened:
		t.Errorf("ListenOver stopped waiting for the expected peer: %v", err)
	default:
	}
}

// An attacker on the path changes some packets. QUIC treats them as lost, so all
// frames still arrive unchanged.
func TestChangedPacketsCountAsLost(t *testing.T) {
	from, to := newAgent(t, nil), newAgent(t, nil)
	var packets atomic.Int64
	proxy := linktest.UDPProxy(t, to.addr(), func(_ bool, b []byte) {
		if packets.Add(1)%7 == 0 && len(b) > 0 {
			b[len(b)/2] ^= 0x40
		}
	})
	dialer, err := from.Dial(linktest.Context(t), proxy, to.id, link.Path{Rank: link.RankHost})
	if err != nil {
		t.Fatal(err)
	}
	acceptor := linktest.Within(t, to.accepted, "the link to be accepted")
	const frames = 40
	arrived := make(chan tunnel.Frame, frames)
	linktest.Start(t, acceptor, func(f tunnel.Frame) error { arrived <- f; return nil })
	linktest.Start(t, dialer, ignore)
	lane := tunnel.EndpointLane(1, 0x81)
	for seq := range uint64(frames) {
		if err := dialer.Send(linktest.Frame(lane, seq+1, 10_000)); err != nil {
			t.Fatal(err)
		}
	}
	for want := uint64(1); want <= frames; want++ {
		got := linktest.Within(t, arrived, "the next frame")
		if same := linktest.Frame(lane, want, 10_000); got.Seq != want || string(got.Body) != string(same.Body) {
			t.Fatalf("frame %d arrived changed or out of order, want frame %d", got.Seq, want)
		}
	}
	if packets.Load() < 7 {
		t.Error("the proxy changed no packet")
	}
}

// An attacker changes every packet, so no link can be made.
func TestDialFailsIfEveryPacketIsChanged(t *testing.T) {
	from, to := newAgent(t, nil), newAgent(t, nil)
	proxy := linktest.UDPProxy(t, to.addr(), func(toTarget bool, b []byte) {
		if !toTarget && len(b) > 0 {
			b[len(b)-1] ^= 1
		}
	})
	_, err := from.Dial(linktest.Context(t), proxy, to.id, link.Path{})
	failed, ok := errors.AsType[*DialError](err)
	if !ok {
		t.Fatalf("error %v", err)
	}
	if !strings.Contains(failed.Explain(), "gets no answer") {
		t.Errorf("explained as %q", failed.Explain())
	}
}

func TestMalformedStreamsEndLink(t *testing.T) {
	header := func(size uint32, lane tunnel.Lane, seq uint64, kind tunnel.Kind) []byte {
		b := binary.BigEndian.AppendUint32(nil, size)
		b = binary.BigEndian.AppendUint32(b, uint32(lane))
		return append(binary.BigEndian.AppendUint64(b, seq), byte(kind))
	}
	lane := binary.BigEndian.AppendUint32(nil, 0x181)
	for name, b := range map[string][]byte{
		"frame above the bound":  append(lane, header(tunnel.MaxFrame+1, 0x181, 1, tunnel.KindSubmit)...),
		"frame of another lane":  append(lane, header(0, 0x182, 1, tunnel.KindSubmit)...),
		"unknown kind":           append(lane, header(0, 0x181, 1, 200)...),
		"incomplete frame":       append(lane, header(100, 0x181, 1, tunnel.KindSubmit)...),
		"incomplete lane number": {0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dialer, acceptor := dial(t, newAgent(t, nil), newAgent(t, nil))
			ended := linktest.Start(t, acceptor, func(tunnel.Frame) error {
				t.Error("a frame was delivered")
				return nil
			})
			stream, err := dialer.(*quicLink).conn.OpenUniStream()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Write(b); err != nil {
				t.Fatal(err)
			}
			_ = stream.Close()
			if err := linktest.Within(t, ended, "the link to end"); !errors.Is(err, tunnel.ErrMalformed) {
				t.Errorf("the link ended with %v", err)
			}
			err = linktest.Within(t, linktest.Start(t, dialer, ignore), "the dialer's Run to return")
			if closed, ok := errors.AsType[*link.ClosedError](err); !ok || closed.Reason == "" {
				t.Errorf("the dialer's Run: %v", err)
			}
		})
	}
}

// A peer announces a large frame on every lane. It does not get memory for all of
// them.
func TestUnfinishedFramesAreBounded(t *testing.T) {
	dialer, acceptor := dial(t, newAgent(t, nil), newAgent(t, nil))
	ended := linktest.Start(t, acceptor, ignore)
	for i := range link.MaxUnfinished/tunnel.MaxFrame + 1 {
		stream, err := dialer.(*quicLink).conn.OpenUniStream()
		if err != nil {
			t.Fatal(err)
		}
		lane := tunnel.EndpointLane(uint16(1+i/8), uint8(0x81+i%8))
		head := tunnel.Frame{Lane: lane, Seq: 1, Kind: tunnel.KindSubmit}.AppendHeader(nil)
		binary.BigEndian.PutUint32(head, tunnel.MaxFrame)
		if _, err := stream.Write(append(binary.BigEndian.AppendUint32(nil, uint32(lane)), head...)); err != nil {
			t.Fatal(err)
		}
	}
	if err := linktest.Within(t, ended, "the link to end"); !errors.Is(err, tunnel.ErrMalformed) {
		t.Errorf("the link ended with %v", err)
	}
}

func TestConnectionIDsDoNotLookLikeSTUN(t *testing.T) {
	for range 2000 {
		id, err := connectionIDs{}.GenerateConnectionID()
		if err != nil {
			t.Fatal(err)
		}
		if b := id.Bytes(); len(b) != connectionIDLen || b[3] == 0x21 {
			t.Fatalf("connection ID %x", b)
		}
	}
}

func TestPathHasAddresses(t *testing.T) {
	from, to := newAgent(t, nil), newAgent(t, nil)
	dialer, acceptor := dial(t, from, to)
	defer dialer.Close("")
	defer acceptor.Close("")
	want := link.Path{
		Rank: link.RankHost, Transport: "quic", Encrypted: true,
		Local: from.addr().String(), Remote: to.addr().String(),
	}
	if got := dialer.Info().Path; got != want {
		t.Errorf("path %+v, want %+v", got, want)
	}
}
