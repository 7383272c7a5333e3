package signal

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// handshake makes one TLS connection and returns the state at both its ends.
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
	near, far := tls.Client(a, clientConfig), tls.Server(b, serverConfig)
	done := make(chan error, 1)
	go func() { done <- far.Handshake() }()
	if err := near.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return near.ConnectionState(), far.ConnectionState()
}

func TestHelloProvesAKeyOnItsConnectionOnly(t *testing.T) {
	near, far := handshake(t)
	_, other := handshake(t)
	key, now := newKey(t, 1), time.UnixMilli(1_700_000_000_000)
	challenge := Challenge{Nonce: [32]byte{1}, Time: now}
	hello, err := NewHello(key, challenge, near)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := hello.Verify(challenge, far, now.Add(time.Second)); err != nil || id != key.ID() {
		t.Fatalf("verify: %s, %v", id, err)
	}
	if _, err := hello.Verify(challenge, other, now); !errors.Is(err, ErrHelloSignature) {
		t.Errorf("replayed on another connection: %v", err)
	}
	if _, err := hello.Verify(Challenge{Nonce: [32]byte{2}, Time: now}, far, now); !errors.Is(err, ErrHelloSignature) {
		t.Errorf("for another nonce: %v", err)
	}
	if _, err := hello.Verify(challenge, far, now.Add(HelloValidity+time.Second)); !errors.Is(err, ErrHelloExpired) {
		t.Errorf("after its expiry: %v", err)
	}
	if _, err := hello.Verify(challenge, far, now.Add(-time.Hour)); !errors.Is(err, ErrHelloExpired) {
		t.Errorf("valid for more than an hour: %v", err)
	}
	stolen := hello
	copy(stolen.Public[:], newKey(t, 2).Public())
	if _, err := stolen.Verify(challenge, far, now); !errors.Is(err, ErrHelloSignature) {
		t.Errorf("with another peer's key: %v", err)
	}
}
