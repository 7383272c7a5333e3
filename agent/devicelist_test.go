package agent_test

import (
	"crypto/rand"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/easyfind-usb/easyfind/agent"
	"github.com/easyfind-usb/easyfind/agent/internal/link/tcplink"
	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// TestLocalUseSendsNoDeviceList connects a peer to an agent and counts the device lists
// that the agent sends. The agent sends one for each new share, and none when it uses
// a device of the peer.
func TestLocalUseSendsNoDeviceList(t *testing.T) {
	key, err := ident.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	desk := newMachine(t, "desk", agent.Config{Virtual: []string{"disk"}, TLSListen: anyPort, USBIP: anyPort})
	desk.addKey(t, "peer", key)
	desk.up(t)
	var lists atomic.Int32
	s, err := session.New(session.Config{
		Local: key.ID(), Remote: desk.id, Host: oneDeviceHost{softwareDisk(t)}, Logger: slog.New(slog.DiscardHandler),
		OnEvent: func(e session.Event) {
			if e.Kind == session.Devices {
				lists.Add(1)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, s.Run)
	l, err := tcplink.Dialer{Key: key}.Dial(t.Context(), tcplink.TLS, desk.listening(t, "tls"), desk.id)
	if err != nil {
		t.Fatal(err)
	}
	s.Join(l)
	waittest.Until(t, "the first list arrives", func() bool { return lists.Load() > 0 })
	before := lists.Load()
	request := localapi.UseRequest{Peer: "peer", Device: "v-disk", Endpoint: true}
	use, err := desk.Use(t.Context(), request, ignoreProgress)
	if err != nil {
		t.Fatal(err)
	}
	if err := desk.Release(t.Context(), use.ID); err != nil {
		t.Fatal(err)
	}
	address := localapi.ReachRequest{Peer: "peer", Addresses: []string{"tls://127.0.0.1:1"}}
	if _, err := desk.Reach(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	if got := lists.Load() - before; got != 0 {
		t.Errorf("the agent sent its device list %d times for a use and a new address, want 0", got)
	}
	if _, err := desk.Share(t.Context(), localapi.ShareRequest{Device: "v-disk"}); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the list with the new share arrives", func() bool {
		devices, err := s.Devices(t.Context())
		return err == nil && len(devices) == 1
	})
	if got := lists.Load() - before; got != 1 {
		t.Errorf("the agent sent its device list %d times for one new share, want 1", got)
	}
}
