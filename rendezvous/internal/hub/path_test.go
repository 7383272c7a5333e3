package hub

import (
	"testing"

	"github.com/easyfind-usb/easyfind/proto/signal"
)

func TestPathsAreTakenOfThoseWhoAreAllowed(t *testing.T) {
	s := start(t)
	k, friend, stranger := key(t, 1), key(t, 2), key(t, 3)
	s.allow(friend, k)
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
		if got := <-s.paths; got.id != k.ID() || got.m != want {
			t.Errorf("told %+v, want %+v", got, want)
		}
	}
	a.write(signal.Ping{}) // no answer came in between, and the connection stands
	if m := a.read(); m != (signal.Pong{}) {
		t.Errorf("got %#v", m)
	}
}

func TestPathsAreBounded(t *testing.T) {
	s := start(t)
	k, friend := key(t, 1), key(t, 2)
	s.allow(friend, k)
	a := s.connect(t, k)
	const many = 20_000
	var flood []byte
	for range many {
		flood = signal.AppendFromPeer(flood, signal.LinkReport{Peer: friend.ID(), Kind: signal.LinkDirect, Transport: signal.TransportUDP})
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
		case <-s.paths:
			taken++
		case err := <-done:
			if ended = true; err != nil {
				t.Fatal(err)
			}
		}
	}
	if taken == 0 || taken > many/10 {
		t.Errorf("%d of %d were taken", taken, many)
	}
}

func TestWithoutTheFeatureNoPathIsTaken(t *testing.T) {
	s := start(t)
	s.features = 0
	k, friend := key(t, 1), key(t, 2)
	s.allow(friend, k)
	a := s.connect(t, k)
	a.write(signal.Ping{Token: signal.AskFeatures})
	if m := a.read(); m != signal.Features(0) {
		t.Fatalf("got %#v", m)
	}
	a.read()
	a.write(signal.LinkReport{Peer: friend.ID(), Kind: signal.LinkDirect, Transport: signal.TransportUDP})
	a.write(signal.Ping{})
	a.read()
	if len(s.paths) != 0 {
		t.Errorf("told %+v", <-s.paths)
	}
}
