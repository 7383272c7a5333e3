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

// says is what one peer says of its link to another, on the connection that
// stands since start.
func says(from, to int, kind presence.LinkKind, after time.Duration) presence.LinkReport {
	p := presence.LinkReport{From: id(from), To: id(to), Connected: start, Kind: kind, Since: start.Add(after)}
	if kind != presence.LinkNone {
		p.Transport, p.RTT = presence.Transport(2), 21*time.Millisecond
	}
	return p
}

// pairOf is the pair as it is read back.
func pairOf(p presence.LinkReport, a, b int) presence.Pair {
	got := presence.Pair{Kind: p.Kind, Transport: p.Transport, RTT: p.RTT, Since: p.Since}
	got.Peers[0], got.Peers[1] = p.Ends()
	for i, one := range got.Peers {
		if one == id(a) || one == id(b) {
			got.Names[i] = "péer \u4e16"
		}
	}
	return got
}

func pairs(t *testing.T, s *database.Database, q presence.PairQuery, now time.Time) []presence.Pair {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	all, err := s.Links.Pairs(t.Context(), q, now)
	must(t, "pairs", err)
	return all
}

func pathsFollowPresence(t *testing.T, s *database.Database) {
	ctx := t.Context()
	admit(t, s, 1)
	admit(t, s, 2)
	a, b := take(t, s, "a", start), take(t, s, "b", start)
	put := func(h presence.Holder, paths ...presence.LinkReport) {
		t.Helper()
		must(t, "put", s.Links.PutLinkReports(ctx, h, start, paths))
	}
	check := func(what string, now time.Time, want ...presence.Pair) {
		t.Helper()
		if got := pairs(t, s, presence.PairQuery{}, now); !slices.Equal(got, want) {
			t.Errorf("%s: got %+v, want %+v", what, got, want)
		}
	}
	must(t, "presence", putPresence(t, s, a, start, at(start, 1)))
	relayed, direct := says(1, 2, presence.LinkRelayed, time.Second), says(2, 1, presence.LinkDirect, 2*time.Second)
	put(a, relayed)
	put(a, relayed)
	check("said by one", start, pairOf(relayed, 1, 2))
	put(b, direct)
	check("said by another who is not connected", start, pairOf(relayed, 1, 2))
	must(t, "presence", putPresence(t, s, b, start, at(start, 2)))
	check("said by both, the later counts", start, pairOf(direct, 1, 2))

	counts, err := s.Links.CountPairs(ctx, start)
	must(t, "count", err)
	if len(counts) != 1 || counts[b.Epoch] != (presence.PairCount{Direct: 1}) {
		t.Errorf("counted %+v", counts)
	}
	must(t, "remove", s.Presence.RemovePresence(ctx, b, start, at(start, 2)))
	check("once the other has gone", start, pairOf(relayed, 1, 2))
	must(t, "come back", putPresence(t, s, b, start, at(start.Add(time.Second), 2)))
	check("on a new connection it has said nothing", start, pairOf(relayed, 1, 2))
	check("after the lease lapsed", start.Add(ttl))
	put(a, says(1, 2, presence.LinkNone, 0))
	check("after the link ended", start)
	must(t, "sweep", s.Sweep(ctx, start))
	must(t, "the connection of before", putPresence(t, s, b, start, at(start.Add(-time.Second), 2)))
	must(t, "it goes", s.Presence.RemovePresence(ctx, b, start, at(start.Add(time.Second), 2)))
	must(t, "it is back", putPresence(t, s, b, start, at(start, 2)))
	check("what was swept stays away", start)
}

func pathsAreFenced(t *testing.T, s *database.Database) {
	ctx := t.Context()
	old := take(t, s, "a", start)
	now := take(t, s, "a", start)
	one := says(1, 2, presence.LinkDirect, 0)
	is(t, "a holder of before", s.Links.PutLinkReports(ctx, old, start, []presence.LinkReport{one}), presence.ErrFenced)
	is(t, "nothing by a holder of before", s.Links.PutLinkReports(ctx, old, start, nil), presence.ErrFenced)
	is(t, "after it lapsed", s.Links.PutLinkReports(ctx, now, start.Add(ttl), []presence.LinkReport{one}), presence.ErrFenced)
	must(t, "presence", putPresence(t, s, now, start, at(start, 1)))
	equal(t, "pairs", len(pairs(t, s, presence.PairQuery{}, start)), 0)
	if err := s.Links.PutLinkReports(ctx, now, start, slices.Repeat([]presence.LinkReport{one}, registry.MaxBatch+1)); err == nil {
		t.Error("a batch beyond the bound was taken")
	}

	// What an older connection said comes late, and loses.
	late := says(1, 2, presence.LinkRelayed, 0)
	late.Connected = start.Add(-time.Hour)
	must(t, "put twice in a batch", s.Links.PutLinkReports(ctx, now, start, []presence.LinkReport{says(1, 2, presence.LinkRelayed, 0), one}))
	must(t, "put late", s.Links.PutLinkReports(ctx, now, start, []presence.LinkReport{late}))
	equal(t, "kind", pairs(t, s, presence.PairQuery{}, start)[0].Kind, presence.LinkDirect)
}

func pairsAreListed(t *testing.T, s *database.Database) {
	ctx := t.Context()
	a := take(t, s, "a", start)
	var all []presence.Pair
	var paths []presence.LinkReport
	for n := range 9 {
		kind := presence.LinkKind(n%3 + 1)
		p := says(0, n+1, kind, time.Duration(n)*time.Second)
		paths, all = append(paths, p), append(all, pairOf(p, -1, -1))
	}
	must(t, "presence", putPresence(t, s, a, start, at(start, 0)))
	must(t, "put", s.Links.PutLinkReports(ctx, a, start, paths))
	slices.SortFunc(all, func(a, b presence.Pair) int {
		if by := a.Peers[0].Compare(b.Peers[0]); by != 0 {
			return by
		}
		return a.Peers[1].Compare(b.Peers[1])
	})
	var listed []presence.Pair
	var after [2]ident.PeerID
	for range 3 {
		page := pairs(t, s, presence.PairQuery{After: after, Limit: 4}, start)
		listed = append(listed, page...)
		after = page[len(page)-1].Peers
	}
	if !slices.Equal(listed, all) {
		t.Errorf("listed %+v, want %+v", listed, all)
	}
	yes, no := true, false
	for name, c := range map[string]struct {
		q    presence.PairQuery
		want int
	}{
		"relayed":         {presence.PairQuery{Relayed: &yes}, 3},
		"not relayed":     {presence.PairQuery{Relayed: &no}, 6},
		"of everyone's":   {presence.PairQuery{Peer: id(0)}, 9},
		"of one":          {presence.PairQuery{Peer: id(4)}, 1},
		"of one, relayed": {presence.PairQuery{Peer: id(4), Relayed: &yes}, 0},
		"of nobody":       {presence.PairQuery{Peer: id(77)}, 0},
	} {
		equal(t, name, len(pairs(t, s, c.q, start)), c.want)
	}
	counts, err := s.Links.CountPairs(ctx, start)
	must(t, "count", err)
	equal(t, "counted", counts[a.Epoch], presence.PairCount{Direct: 6, Relayed: 3})
}

// minute is the nth minute of an instance.
func minute(instance string, n int) history.Minute {
	return history.Minute{
		At: start.Truncate(time.Minute).Add(time.Duration(n) * time.Minute), Instance: instance, Peers: 10 + n,
		Pairs: presence.PairCount{Direct: n, Relayed: 2 * n}, RelayBytes: 1 << 40, RelayPackets: 7, Registrations: 1, Refusals: 2,
	}
}

func historyIsInSpans(t *testing.T, s *database.Database) {
	ctx := t.Context()
	for n := range 6 {
		if n != 4 { // in which nobody ran
			must(t, "add", s.History.AddMinute(ctx, minute("a", n)))
		}
	}
	must(t, "add", s.History.AddMinute(ctx, minute("b", 1)))
	again := minute("b", 1)
	again.Peers = 20
	must(t, "the same minute again", s.History.AddMinute(ctx, again))

	from := minute("", 0).At
	got, err := s.History.History(ctx, from, from.Add(5*time.Minute), 2*time.Minute)
	must(t, "history", err)
	want := []history.Span{
		{At: from, Peers: 31, Pairs: presence.PairCount{Direct: 2, Relayed: 4}, RelayBytes: 4 << 40, RelayPackets: 28, Registrations: 4, Refusals: 8},
		{At: from.Add(2 * time.Minute), Peers: 13, Pairs: presence.PairCount{Direct: 3, Relayed: 6}, RelayBytes: 2 << 40, RelayPackets: 14, Registrations: 2, Refusals: 4},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	last, err := s.History.LastMinutes(ctx, from.Add(2*time.Minute))
	must(t, "last", err)
	if len(last) != 1 || last["a"] != minute("a", 5) {
		t.Errorf("last %+v", last)
	}
	must(t, "sweep", s.Sweep(ctx, from.Add(history.Retention+time.Minute)))
	got, err = s.History.History(ctx, from, from.Add(time.Hour), time.Minute)
	must(t, "history", err)
	if len(got) != 3 || !got[0].At.Equal(from.Add(2*time.Minute)) {
		t.Errorf("kept %+v", got)
	}
}

func relayUseAddsUp(t *testing.T, s *database.Database) {
	ctx := t.Context()
	admit(t, s, 1)
	today := history.DayOf(start)
	use := func(peer int, n int64) history.RelayUse {
		return history.RelayUse{Peer: id(peer), SentBytes: n << 40, SentPackets: n, ReceivedBytes: 2 * n, ReceivedPackets: 3 * n}
	}
	add := func(day history.Day, uses ...history.RelayUse) {
		t.Helper()
		must(t, "add", s.History.AddRelayUse(ctx, day, uses))
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
		return s.History.AddRelayUse(ctx, today-2, uses)
	})
	if ok != 6 {
		t.Errorf("raced: %v", failed)
	}

	most, err := s.History.RelayUse(ctx, history.RelayQuery{Since: today - 1, Limit: 10})
	must(t, "use", err)
	first := use(1, 13)
	first.Name = "péer \u4e16"
	if want := []history.RelayUse{first, use(2, 5)}; !slices.Equal(most, want) {
		t.Errorf("got %+v, want %+v", most, want)
	}
	most, err = s.History.RelayUse(ctx, history.RelayQuery{Since: today - 2, Limit: 3})
	must(t, "use", err)
	if len(most) != 3 || most[2].SentBytes != 6<<40 {
		t.Errorf("got %+v", most)
	}
	days, err := s.History.RelayDays(ctx, today-1, ident.PeerID{})
	must(t, "days", err)
	if len(days) != 2 || days[0] != (history.RelayDay{Day: today - 1, SentBytes: 10 << 40, SentPackets: 10, ReceivedBytes: 20, ReceivedPackets: 30}) || days[1].SentPackets != 8 {
		t.Errorf("days %+v", days)
	}
	days, err = s.History.RelayDays(ctx, today-9, id(2))
	must(t, "days of one", err)
	if len(days) != 1 || days[0].SentPackets != 5 {
		t.Errorf("days of one %+v", days)
	}
	if err := s.History.AddRelayUse(ctx, today, make([]history.RelayUse, registry.MaxBatch+1)); err == nil {
		t.Error("a batch beyond the bound was taken")
	}
	must(t, "sweep", s.Sweep(ctx, start.Add(history.RelayUseDays*24*time.Hour)))
	days, err = s.History.RelayDays(ctx, 0, ident.PeerID{})
	must(t, "days", err)
	equal(t, "days kept", len(days), 0)
}
