package peers_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// from returns the context of a request from the nth address.
func from(ctx context.Context, n int) context.Context {
	source := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}), 32)
	return audit.WithOrigin(ctx, audit.Origin{Actor: "stranger", Source: source})
}

// flush writes the collected requests.
func flush(t *testing.T, requests *peers.JoinRequests) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := requests.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestPeerWithoutAnInviteIsAJoinRequest(t *testing.T) {
	f := newFixture(t, func(c *peers.RegistrationConfig) { c.Open = false })
	refuse := func(source int, peer byte) {
		t.Helper()
		if _, err := f.register(t, from(t.Context(), source), peer); !errors.Is(err, peers.ErrInviteNeeded) {
			t.Fatalf("peer %d: %v", peer, err)
		}
	}
	refuse(1, 1)
	refuse(1, 2) // from the same source within a minute
	refuse(2, 3)
	flush(t, f.requests)

	// Another instance reads them from the database.
	other, err := peers.NewJoinRequests(f.db.JoinRequests(), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	all, err := other.JoinRequests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[ident.PeerID]string{}
	for _, r := range all {
		got[r.Peer] = r.Source
	}
	if len(all) != 2 || got[key(t, 1).ID()] != "192.0.0.1" || got[key(t, 3).ID()] != "192.0.0.2" {
		t.Errorf("requests %+v", all)
	}
}

func TestFloodOfJoinRequestsIsBounded(t *testing.T) {
	f := newFixture(t, func(c *peers.RegistrationConfig) { c.Open = false })
	for n := range 80 {
		if _, err := f.register(t, from(t.Context(), n), byte(n)); !errors.Is(err, peers.ErrInviteNeeded) {
			t.Fatal(err)
		}
	}
	flush(t, f.requests)
	all, err := f.db.JoinRequests().JoinRequests(t.Context(), time.Now(), 1000)
	if err != nil || len(all) != 64 {
		t.Errorf("%d requests, %v", len(all), err)
	}
}
