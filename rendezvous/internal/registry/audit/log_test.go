package audit_test

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store reports the batches of events that it receives.
type store struct {
	audit.Store
	batches chan []audit.Event
}

func (s store) AddEvents(_ context.Context, events []audit.Event) error {
	s.batches <- events
	return nil
}

// TestFloodOfRefusalsIsBounded checks that 10,000 refusals from as many sources
// become a bounded number of events whose counts add up.
func TestFloodOfRefusalsIsBounded(t *testing.T) {
	invalid := &registry.Error{Text: "the invite is not good", Refusal: "invite"}
	synctest.Test(t, func(t *testing.T) {
		db := store{batches: make(chan []audit.Event, 10)}
		log, err := audit.NewLog(audit.Config{Store: db, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- log.Run(ctx) }()
		synctest.Wait()
		for i := range 10_000 {
			source := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
			from := audit.WithOrigin(t.Context(), audit.Origin{Actor: "stranger", Source: source})
			log.Refused(from, "register", ident.PeerID{1}, invalid)
			log.Refused(from, "register", ident.PeerID{1}, context.Canceled) // not a refusal
		}
		events := <-db.batches
		sum := 0
		for _, e := range events {
			sum += e.Count
			together := e.Count > 1
			if e.Kind != audit.KindRefused || e.Detail != "register: the invite is not good" || e.Actor != "stranger" ||
				(e.Source == "") != together || e.Peer.IsZero() != together {
				t.Errorf("event %+v", e)
			}
		}
		if sum != 10_000 || len(events) > 100 || log.Refusals() != 10_000 {
			t.Errorf("%d refusals in %d events, counted %d", sum, len(events), log.Refusals())
		}
		log.Refused(t.Context(), "pair", ident.PeerID{2}, invalid)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run ended with %v", err)
		}
		if last := <-db.batches; len(last) != 1 || last[0].Peer != (ident.PeerID{2}) {
			t.Errorf("at the end: %+v", last)
		}
	})
}
