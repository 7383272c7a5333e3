package hub

import (
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/signal"
)

func TestReportsAboutStrangersAreDropped(t *testing.T) {
	s := start(t)
	k, friend, stranger := key(t, 1), key(t, 2), key(t, 3)
	s.allow(k, friend)
	a := s.connect(t, k)
	a.write(signal.Ping{Token: signal.AskFeatures})
	if m := a.read(); m != signal.FeatureLinkReports {
		t.Fatalf("got %#v", m)
	}
	if m := a.read(); m != (signal.Pong{Token: signal.AskFeatures}) {
		t.Fatalf("got %#v", m)
	}
	good := signal.LinkReport{Peer: friend.ID(), Kind: signal.LinkRelayed, Transport: signal.TransportUDP}
	end := signal.LinkReport{Peer: friend.ID()}
	a.write(signal.LinkReport{Peer: stranger.ID(), Kind: signal.LinkDirect, Transport: signal.TransportUDP})
	a.write(good)
	a.write(end)
	for _, want := range []signal.LinkReport{good, end} {
		if got := <-s.reports; got.from != k.ID() || got.m != want {
			t.Errorf("reported %+v, want %+v", got, want)
		}
	}
	a.write(signal.Ping{}) // no answer came before, and the connection goes on
	if m := a.read(); m != (signal.Pong{}) {
		t.Errorf("got %#v", m)
	}
}

func TestReportsAreBounded(t *testing.T) {
	now := time.Now()
	s := startAt(t, func() time.Time { return now })
	k, friend := key(t, 1), key(t, 2)
	s.allow(k, friend)
	a := s.connect(t, k)
	report := signal.LinkReport{Peer: friend.ID(), Kind: signal.LinkDirect, Transport: signal.TransportUDP}
	const many = 20_000
	var flood []byte
	for range many {
		flood = signal.AppendFromPeer(flood, report)
	}
	done := make(chan error, 1)
	go func() {
		_, err := a.conn.Write(signal.AppendFromPeer(flood, signal.Ping{}))
		if err == nil {
			_, err = a.in.FromRendezvous()
		}
		done <- err
	}()
	taken := 0
	for ended := false; !ended; {
		select {
		case <-s.reports:
			taken++
		case err := <-done:
			if ended = true; err != nil {
				t.Fatal(err)
			}
		}
	}
	taken += len(s.reports)
	if taken != messageBurst {
		t.Errorf("%d of %d reports passed, want %d", taken, many, messageBurst)
	}
}

func TestReportsWithoutTheFeatureAreDropped(t *testing.T) {
	s := start(t)
	s.features = 0
	k, friend := key(t, 1), key(t, 2)
	s.allow(k, friend)
	a := s.connect(t, k)
	a.write(signal.Ping{Token: signal.AskFeatures})
	if m := a.read(); m != signal.Features(0) {
		t.Fatalf("got %#v", m)
	}
	a.read()
	a.write(signal.LinkReport{Peer: friend.ID(), Kind: signal.LinkDirect, Transport: signal.TransportUDP})
	a.write(signal.Ping{})
	a.read()
	if len(s.reports) != 0 {
		t.Errorf("reported %+v", <-s.reports)
	}
}
