package agent_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/easyfind-usb/easyfind/agent"
	"github.com/easyfind-usb/easyfind/internal/doctor"
	"github.com/easyfind-usb/easyfind/rendezvous"
)

// startRendezvous runs a rendezvous on loopback and returns its join link.
func startRendezvous(t *testing.T) (link string, stop func()) {
	t.Helper()
	ready := make(chan string, 1)
	s, err := rendezvous.New(rendezvous.Config{
		Listen: anyPort, STUNListen: anyPort, Data: t.TempDir(), Name: "home",
		OnReady: func(link string) { ready <- link },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	select {
	case link = <-ready:
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	return link, stop
}

// TestDoctorExaminesRendezvous runs the doctor of an agent with a rendezvous, after the
// rendezvous has stopped, and of an agent without one.
func TestDoctorExaminesRendezvous(t *testing.T) {
	link, stop := startRendezvous(t)
	m := newMachine(t, "desk", agent.Config{Rendezvous: link})
	m.up(t)
	m.until(t, "connected", func() bool {
		s, err := m.Status(t.Context())
		return err == nil && s.Rendezvous.Connected
	})
	found, err := m.Doctor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := doctor.Write(&text, found); err != nil || doctor.Failed(found) {
		t.Errorf("%v, %s", err, text.String())
	}
	for _, want := range []string{
		"✓ rendezvous", "✓ this network", "✓ certificate", "✓ HTTPS", "home 0.", "✓ signalling",
		"✓ STUN/UDP", "✓ STUN/TCP", "✓ TURN/UDP", "✓ TURN/TCP", "✓ TURN/TLS", "a packet went through",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing in\n%s", want, text.String())
		}
	}
	stop()
	m.until(t, "disconnected", func() bool {
		s, err := m.Status(t.Context())
		return err == nil && !s.Rendezvous.Connected
	})
	if found, err = m.Doctor(t.Context()); err != nil || !doctor.Failed(found) {
		t.Errorf("after the rendezvous stopped: %+v, %v", found, err)
	}
	alone := newMachine(t, "alone", agent.Config{})
	alone.up(t)
	if found, err := alone.Doctor(t.Context()); err != nil || len(found) == 0 || found[0].Verdict != doctor.Unknown {
		t.Errorf("without a rendezvous: %+v, %v", found, err)
	}
}
