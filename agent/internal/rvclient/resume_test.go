package rvclient_test

import (
	"errors"
	"testing"

	"github.com/easyfind-usb/easyfind/internal/loopbacktest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous"
)

// TestReconnectResumesTLSSession expects that all handshakes after the first
// connection resume its TLS session, also after a restart of the rendezvous, when
// all agents reconnect at the same time. A server with another key must still be
// detected.
func TestReconnectResumesTLSSession(t *testing.T) {
	c := rendezvous.Config{Listen: loopbacktest.Address().String(), Data: t.TempDir()}
	s := serve(t, c)
	a := join(t, s.link, 1).connected(t)
	resumed := func(when string) {
		t.Helper()
		state, err := a.Handshake(t.Context())
		if err != nil || !state.DidResume {
			t.Errorf("%s: %v, resumed %v", when, err, state.DidResume)
		}
	}
	resumed("while connected")
	s.stop()
	s = serve(t, c)
	resumed("after a restart")
	a.connected(t)
	s.stop()
	c.Data = t.TempDir()
	serve(t, c) // with another key
	if _, err := a.Handshake(t.Context()); !errors.Is(err, ident.ErrUntrusted) {
		t.Errorf("another server: %v", err)
	}
}
