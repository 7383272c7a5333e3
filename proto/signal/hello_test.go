package signal

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// handshake makes a TLS connection and returns its state on both sides.
func handshake(t *testing.T) (client, server tls.ConnectionState) {
	t.Helper()
	serverKey, clientKey := newKey(t, 8), newKey(t, 9)
	anyone := func(ident.PeerID) error { return nil }
	serverConfig, err := ident.MutualTLS(serverKey, ALPN, anyone)
	if err != nil {
		t.Fatal(err)
	}
	clientConfig, err := ident.MutualTLS(clientKey, ALPN, anyone)
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	c, s := tls.Client(a, clientConfig), tls.Server(b, serverConfig)
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState(), s.ConnectionState()
}

func bound(t *testing.T, c tls.ConnectionState) Binding {
	t.Helper()
	b, err := BoundToTLS(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestHelloIsValidForItsOriginOnly(t *testing.T) {
	_, direct := handshake(t)
	key, now := newKey(t, 1), time.UnixMilli(1_700_000_000_000)
	challenge := Challenge{Nonce: [32]byte{1}, Time: now}
	here := BoundToOrigin(ident.OriginOf("rendezvous.example.org"))
	hello := NewHello(key, challenge, here)
	same := BoundToOrigin(ident.OriginOf("Rendezvous.Example.Org:443"))
	if id, err := hello.Verify(challenge, same, now); err != nil || id != key.ID() {
		t.Fatalf("verify: %s, %v", id, err)
	}
	for what, b := range map[string]Binding{
		"another origin":            BoundToOrigin(ident.OriginOf("rendezvous.example.net")),
		"another port":              BoundToOrigin(ident.OriginOf("rendezvous.example.org:8443")),
		"a direct connection":       bound(t, direct),
		"the origin as an exporter": {purpose: ident.PurposeSignal, value: here.value},
		"nothing":                   {},
	} {
		if _, err := hello.Verify(challenge, b, now); !errors.Is(err, ErrHelloSignature) {
			t.Errorf("verified for %s: %v", what, err)
		}
	}
	ofTLS := NewHello(key, challenge, bound(t, direct))
	if _, err := ofTLS.Verify(challenge, here, now); !errors.Is(err, ErrHelloSignature) {
		t.Errorf("bound to TLS, verified for an origin: %v", err)
	}
	if _, err := hello.Verify(Challenge{Nonce: [32]byte{2}, Time: now}, here, now); !errors.Is(err, ErrHelloSignature) {
		t.Errorf("for another nonce: %v", err)
	}
}

func TestHelloIsValidOnItsConnectionOnly(t *testing.T) {
	client, server := handshake(t)
	_, other := handshake(t)
	key, now := newKey(t, 1), time.UnixMilli(1_700_000_000_000)
	challenge := Challenge{Nonce: [32]byte{1}, Time: now}
	hello := NewHello(key, challenge, bound(t, client))
	if id, err := hello.Verify(challenge, bound(t, server), now.Add(time.Second)); err != nil || id != key.ID() {
		t.Fatalf("verify: %s, %v", id, err)
	}
	if _, err := hello.Verify(challenge, bound(t, other), now); !errors.Is(err, ErrHelloSignature) {
		t.Errorf("replayed on another connection: %v", err)
	}
	another := Challenge{Nonce: [32]byte{2}, Time: now}
	if _, err := hello.Verify(another, bound(t, server), now); !errors.Is(err, ErrHelloSignature) {
		t.Errorf("for another nonce: %v", err)
	}
	late := now.Add(HelloValidity + time.Second)
	if _, err := hello.Verify(challenge, bound(t, server), late); !errors.Is(err, ErrHelloExpired) {
		t.Errorf("after its expiry: %v", err)
	}
	if _, err := hello.Verify(challenge, bound(t, server), now.Add(-time.Hour)); !errors.Is(err, ErrHelloExpired) {
		t.Errorf("valid for more than an hour: %v", err)
	}
	stolen := hello
	copy(stolen.Public[:], newKey(t, 2).Public())
	if _, err := stolen.Verify(challenge, bound(t, server), now); !errors.Is(err, ErrHelloSignature) {
		t.Errorf("with another peer's key: %v", err)
	}
}
