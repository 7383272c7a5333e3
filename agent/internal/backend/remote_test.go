package backend

import (
	"crypto/rand"
	"log/slog"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/peers"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// TestForgottenPeerIsUnknown asks why a peer is unreachable after the user has
// forgotten it in the middle of a command.
func TestForgottenPeerIsUnknown(t *testing.T) {
	store, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	key, err := ident.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := Remote{Store: store, Set: peers.NewSet(), Logger: slog.New(slog.DiscardHandler)}
	gone := state.Peer{ID: key.ID(), Name: "workshop"}
	for name, err := range map[string]error{
		"unreachable": r.unreachable(gone),
		"devices":     second(r.devices(t.Context(), gone, reachTimeout)),
	} {
		if got := localapi.ProblemOf(err); got.Code != localapi.CodeUnknown {
			t.Errorf("%s: %+v, want code %s", name, got, localapi.CodeUnknown)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestSelectDevice(t *testing.T) {
	devices := []tunnel.Device{
		{ID: "1-1", Vendor: 0x951, Product: 0x1666, Serial: "A"},
		{ID: "1-2", Vendor: 0x951, Product: 0x1666, Serial: "B"},
	}
	for selector, want := range map[string]string{
		"1-2": "1-2", "A": "1-1", "0951:1666": "give the bus id", "2-1": "shares no device",
	} {
		d, err := selectDevice(devices, selector, "workshop")
		if d.ID != want && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("selectDevice(%q) = %q, %v, want %q", selector, d.ID, err, want)
		}
	}
}

func TestKindName(t *testing.T) {
	for want, info := range map[string]usb.Info{
		"hub":      {Class: 0x09},
		"keyboard": {Interfaces: []usb.Interface{{Class: 0x03, Protocol: 1}}},
		"disk":     {Class: 0xef, Interfaces: []usb.Interface{{Class: 0x08}}},
		"":         {Class: 0xef},
	} {
		if got := kindName(info); got != want {
			t.Errorf("kindName(%+v) = %q, want %q", info, got, want)
		}
	}
}
