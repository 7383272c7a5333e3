package rvclient_test

import (
	"errors"
	"net"
	"testing"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous"
)

// TestComingBackIsAResumption: after the first connection no handshake is a whole
// one, not even after the rendezvous was restarted, as it is when all agents come
// back at once; and another server at its address is found out nevertheless.
func TestComingBackIsAResumption(t *testing.T) {
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := rendezvous.Config{Listen: probe.Addr().String(), Data: t.TempDir()}
	probe.Close()
	s := serve(t, c)
	a := join(t, s.link, 1).connected(t)
	resumed := func(when string) {
		t.Helper()
		state, err := a.Handshake(t.Context())
		if err != nil || !state.DidResume {
			t.Errorf("%s: %v, resumed %v", when, err, state.DidResume)
		}
	}
	resumed("beside the connection")
	s.stop()
	s = serve(t, c)
	resumed("after a restart")
	a.connected(t)
	s.stop()
	c.Data = t.TempDir()
	serve(t, c) // of another key
	if _, err := a.Handshake(t.Context()); !errors.Is(err, ident.ErrUntrusted) {
		t.Errorf("another server: %v", err)
	}
}
