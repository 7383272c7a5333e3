package certs

import (
	"crypto/tls"
	"errors"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// instances returns two instances with the same secret and certificate.
func instances(t *testing.T, time *clock) (a, b *Certificates) {
	t.Helper()
	c, _ := newConfig(t)
	c.Now = time.now
	a, b = open(t, c), open(t, c)
	return a, b
}

// returning returns the configuration of a client that keeps its tickets.
func returning(time *clock) *tls.Config {
	config := anyone()
	config.ClientSessionCache, config.Time = tls.NewLRUClientSessionCache(4), time.now
	return config
}

func TestSessionsResumeAtAnyInstance(t *testing.T) {
	time := &clock{}
	a, b := instances(t, time)
	c, _ := newConfig(t)
	c.Secret, c.Now = []byte("another"), time.now
	stranger := open(t, c)
	for name, want := range map[string]struct {
		at     *Certificates
		resume bool
	}{
		"the same instance":                 {a, true},
		"another instance":                  {b, true},
		"an instance of another rendezvous": {stranger, false},
	} {
		client := returning(time)
		server := a.TLS()
		server.Time = time.now
		first, err := handshake(server, client)
		if err != nil || first.DidResume {
			t.Fatalf("first: %v, resumed %v", err, first.DidResume)
		}
		server = want.at.TLS()
		server.Time = time.now
		again, err := handshake(server, client)
		if err != nil || again.DidResume != want.resume {
			t.Errorf("at %s: %v, resumed %v", name, err, again.DidResume)
		}
		one, _ := first.ExportKeyingMaterial("x", nil, 32)
		other, _ := again.ExportKeyingMaterial("x", nil, 32)
		if string(one) == string(other) {
			t.Errorf("at %s: both connections have the same keys", name)
		}
	}
}

func TestTicketKeysRotate(t *testing.T) {
	for after, want := range map[time.Duration]bool{
		0: true, ticketPeriod: true, ticketsKept * ticketPeriod: true, (ticketsKept + 1) * ticketPeriod: false,
		-ticketPeriod: true, // the other instance's clock is behind
	} {
		first, other := &clock{}, &clock{}
		a, b := instances(t, first)
		other.advance(after)
		b.tickets.now = other.now
		client := returning(first)
		server := a.TLS()
		server.Time = first.now
		if _, err := handshake(server, client); err != nil {
			t.Fatal(err)
		}
		server = b.TLS()
		server.Time = first.now // crypto/tls tests the lifetime of tickets
		again, err := handshake(server, client)
		if err != nil || again.DidResume != want {
			t.Errorf("after %v: %v, resumed %v", after, err, again.DidResume)
		}
	}
}

// TestPinIsCheckedOnResumption: a ticket does not bypass the check of the pin.
func TestPinIsCheckedOnResumption(t *testing.T) {
	time := &clock{}
	a, b := instances(t, time)
	pinned := ident.PinnedTLS(*a.Pin())
	pinned.ServerName, pinned.Time = "rendezvous.test", time.now
	pinned.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	server := func(c *Certificates) *tls.Config {
		config := c.TLS()
		config.Time = time.now
		return config
	}
	if _, err := handshake(server(a), pinned); err != nil {
		t.Fatal(err)
	}
	again, err := handshake(server(b), pinned)
	if err != nil || !again.DidResume {
		t.Fatalf("with the right pin: %v, resumed %v", err, again.DidResume)
	}
	checked := 0
	inner := pinned.VerifyConnection
	pinned.VerifyConnection = func(s tls.ConnectionState) error {
		checked++
		return inner(s)
	}
	if again, err = handshake(server(a), pinned); err != nil || !again.DidResume || checked != 1 {
		t.Errorf("%v, resumed %v, checked %d times", err, again.DidResume, checked)
	}
	// The same tickets in a client that expects another key.
	wrong := ident.PinnedTLS(ident.Pin{1})
	wrong.ServerName, wrong.ClientSessionCache, wrong.Time = pinned.ServerName, pinned.ClientSessionCache, time.now
	if _, err := handshake(server(b), wrong); !errors.Is(err, ident.ErrUntrusted) {
		t.Errorf("with another pin: %v", err)
	}
}
