package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/history"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// minute returns the nth minute of an instance.
func minute(instance string, n int) history.Minute {
	return history.Minute{
		At: start.Truncate(time.Minute).Add(time.Duration(n) * time.Minute), Instance: instance, Peers: 10 + n,
		Pairs: presence.PairCount{Direct: n, Relayed: 2 * n}, RelayBytes: 1 << 40, RelayPackets: 7, Registrations: 1,
		Refusals: 2,
	}
}

// minutesAreSummedInSpans checks that a history has the maximum of each gauge and the sum of each
// counter, and that old minutes are removed.
func minutesAreSummedInSpans(t *testing.T, db *database.Database) {
	ctx := t.Context()
	for n := range 6 {
		if n != 4 { // in which no instance ran
			must(t, "add", db.History.AddMinute(ctx, minute("a", n)))
		}
	}
	must(t, "add", db.History.AddMinute(ctx, minute("b", 1)))
	again := minute("b", 1)
	again.Peers = 20
	must(t, "the same minute again", db.History.AddMinute(ctx, again))

	from := minute("", 0).At
	got, err := db.History.History(ctx, from, from.Add(5*time.Minute), 2*time.Minute)
	must(t, "history", err)
	want := []history.Span{
		{
			At: from, Peers: 31, Pairs: presence.PairCount{Direct: 2, Relayed: 4},
			RelayBytes: 4 << 40, RelayPackets: 28,
			Registrations: 4, Refusals: 8,
		},
		{
			At: from.Add(2 * time.Minute), Peers: 13, Pairs: presence.PairCount{Direct: 3, Relayed: 6},
			RelayBytes: 2 << 40, RelayPackets: 14, Registrations: 2, Refusals: 4,
		},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	last, err := db.History.LastMinutes(ctx, from.Add(2*time.Minute))
	must(t, "last", err)
	if len(last) != 1 || last["a"] != minute("a", 5) {
		t.Errorf("last %+v", last)
	}
	must(t, "sweep", db.Sweep(ctx, from.Add(history.Retention+time.Minute)))
	got, err = db.History.History(ctx, from, from.Add(time.Hour), time.Minute)
	must(t, "history", err)
	if len(got) != 3 || !got[0].At.Equal(from.Add(2*time.Minute)) {
		t.Errorf("kept %+v", got)
	}
}

// relayUseAddsUp checks that the relayed bytes of a peer and of a day add up, also with
// concurrent writes.
func relayUseAddsUp(t *testing.T, db *database.Database) {
	ctx := t.Context()
	admit(t, db, 1)
	today := history.DayOf(start)
	use := func(peer int, n int64) history.RelayUse {
		return history.RelayUse{
			Peer: id(peer), SentBytes: n << 40, SentPackets: n, ReceivedBytes: 2 * n,
			ReceivedPackets: 3 * n,
		}
	}
	add := func(day history.Day, uses ...history.RelayUse) {
		t.Helper()
		must(t, "add", db.History.AddRelayUse(ctx, day, uses))
	}
	add(today, use(1, 1), use(2, 5))
	add(today, use(1, 2))
	add(today-1, use(1, 10))
	add(today, []history.RelayUse{}...)
	ok, failed := race(6, func(i int) error {
		uses := []history.RelayUse{use(8, 1), use(9, 1)}
		if i%2 == 1 {
			slices.Reverse(uses)
		}
		return db.History.AddRelayUse(ctx, today-2, uses)
	})
	if ok != 6 {
		t.Errorf("a concurrent request: %v", failed)
	}

	most, err := db.History.RelayUse(ctx, history.RelayQuery{Since: today - 1, Limit: 10})
	must(t, "use", err)
	first := use(1, 13)
	first.Name = "péer \u4e16"
	if want := []history.RelayUse{first, use(2, 5)}; !slices.Equal(most, want) {
		t.Errorf("got %+v, want %+v", most, want)
	}
	most, err = db.History.RelayUse(ctx, history.RelayQuery{Since: today - 2, Limit: 3})
	must(t, "use", err)
	if len(most) != 3 || most[2].SentBytes != 6<<40 {
		t.Errorf("got %+v", most)
	}
	days, err := db.History.RelayDays(ctx, today-1, ident.PeerID{})
	must(t, "days", err)
	if len(days) != 2 || days[0] != (history.RelayDay{
		Day: today - 1, SentBytes: 10 << 40, SentPackets: 10,
		ReceivedBytes: 20, ReceivedPackets: 30,
	}) || days[1].SentPackets != 8 {
		t.Errorf("days %+v", days)
	}
	days, err = db.History.RelayDays(ctx, today-9, id(2))
	must(t, "days of one peer", err)
	if len(days) != 1 || days[0].SentPackets != 5 {
		t.Errorf("days of one peer: %+v", days)
	}
	if err := db.History.AddRelayUse(ctx, today, make([]history.RelayUse, registry.MaxBatch+1)); err == nil {
		t.Error("a batch beyond the bound was accepted")
	}
	must(t, "sweep", db.Sweep(ctx, start.Add(history.RelayUseDays*24*time.Hour)))
	days, err = db.History.RelayDays(ctx, 0, ident.PeerID{})
	must(t, "days", err)
	equal(t, "days kept", len(days), 0)
}
