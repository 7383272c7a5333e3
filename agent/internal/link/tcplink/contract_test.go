package tcplink

import (
	"crypto/rand"
	"testing"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newKey(t testing.TB) ident.Key {
	t.Helper()
	key, err := ident.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// server is a listener that runs until the test ends.
type server struct {
	*Listener
	id       ident.PeerID
	accepted chan link.Link
}

func anyone(ident.PeerID) error { return nil }

func ignore(tunnel.Frame) error { return nil }

func newServer(t *testing.T, mode Mode, trust func(ident.PeerID) error) *server {
	t.Helper()
	key := newKey(t)
	s := &server{id: key.ID(), accepted: make(chan link.Link, 8)}
	var err error
	s.Listener, err = NewListener(Config{
		Key: key, Mode: mode, Listen: "127.0.0.1:0", Trust: trust,
		Accept: func(l link.Link) { s.accepted <- l },
	})
	if err != nil {
		t.Fatal(err)
	}
	linktest.Serve(t, s.Run)
	return s
}

func dial(t *testing.T, mode Mode) (dialer, acceptor link.Link) {
	t.Helper()
	key, s := newKey(t), newServer(t, mode, anyone)
	dialer, err := Dialer{Key: key}.Dial(linktest.Context(t), mode, s.Addr().String(), s.id)
	if err != nil {
		t.Fatal(err)
	}
	acceptor = linktest.Within(t, s.accepted, "the link to be accepted")
	if dialer.Info().Peer != s.id || acceptor.Info().Peer != key.ID() {
		t.Fatalf("the peers are %s and %s, want %s and %s", dialer.Info().Peer, acceptor.Info().Peer, s.id, key.ID())
	}
	return dialer, acceptor
}

// eachMode runs a test in both modes.
func eachMode(t *testing.T, test func(t *testing.T, mode Mode)) {
	for _, mode := range []Mode{TLS, Plain} {
		t.Run(mode.String(), func(t *testing.T) { test(t, mode) })
	}
}

func TestLinksKeepTheContract(t *testing.T) {
	eachMode(t, func(t *testing.T, mode Mode) {
		linktest.Run(t, func(t *testing.T) (link.Link, link.Link) { return dial(t, mode) })
	})
}
