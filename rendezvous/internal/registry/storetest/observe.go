package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// says is what one peer says of its link to another, on the connection that
// stands since start.
func says(from, to int, kind registry.PathKind, after time.Duration) registry.Path {
	p := registry.Path{From: id(from), To: id(to), Session: start, Kind: kind, Since: start.Add(after)}
	if kind != registry.PathNone {
		p.Transport, p.RTT = registry.Transport(2), 21*time.Millisecond
	}
	return p
}

// pairOf is the pair as it is read back.
func pairOf(p registry.Path, a, b int) registry.Pair {
	got := registry.Pair{Kind: p.Kind, Transport: p.Transport, RTT: p.RTT, Since: p.Since}
	got.Peers[0], got.Peers[1] = p.Ends()
	for i, one := range got.Peers {
		if one == id(a) || one == id(b) {
			got.Names[i] = "péer \u4e16"
		}
	}
	return got
}

func pairs(t *testing.T, s registry.Store, q registry.PairQuery, now time.Time) []registry.Pair {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	all, err := s.Pairs(t.Context(), q, now)
	must(t, "pairs", err)
	return all
}

func pathsFollowPresence(t *testing.T, s registry.Store) {
	ctx := t.Context()
	admit(t, s, 1)
	admit(t, s, 2)
	a, b := take(t, s, "a", start), take(t, s, "b", start)
	put := func(h registry.Holder, paths ...registry.Path) {
		t.Helper()
		must(t, "put", s.PutPaths(ctx, h, start, paths))
	}
	check := func(what string, now time.Time, want ...registry.Pair) {
		t.Helper()
		if got := pairs(t, s, registry.PairQuery{}, now); !slices.Equal(got, want) {
			t.Errorf("%s: got %+v, want %+v", what, got, want)
		}
	}
	must(t, "presence", putPresence(t, s, a, start, at(start, 1)))
	relayed, direct := says(1, 2, registry.PathRelayed, time.Second), says(2, 1, registry.PathDirect, 2*time.Second)
	put(a, relayed)
	put(a, relayed)
	check("said by one", start, pairOf(relayed, 1, 2))
	put(b, direct)
	check("said by another who is not connected", start, pairOf(relayed, 1, 2))
	must(t, "presence", putPresence(t, s, b, start, at(start, 2)))
	check("said by both, the later counts", start, pairOf(direct, 1, 2))

	counts, err := s.CountPairs(ctx, start)
	must(t, "count", err)
	if len(counts) != 1 || counts[b.Epoch] != (registry.PairCount{Direct: 1}) {
		t.Errorf("counted %+v", counts)
	}
	must(t, "remove", s.RemovePresence(ctx, b, start, at(start, 2)))
	check("once the other has gone", start, pairOf(relayed, 1, 2))
	must(t, "come back", putPresence(t, s, b, start, at(start.Add(time.Second), 2)))
	check("on a new connection it has said nothing", start, pairOf(relayed, 1, 2))
	check("after the lease lapsed", start.Add(ttl))
	put(a, says(1, 2, registry.PathNone, 0))
	check("after the link ended", start)
	must(t, "sweep", s.Sweep(ctx, start))
	must(t, "the connection of before", putPresence(t, s, b, start, at(start.Add(-time.Second), 2)))
	must(t, "it goes", s.RemovePresence(ctx, b, start, at(start.Add(time.Second), 2)))
	must(t, "it is back", putPresence(t, s, b, start, at(start, 2)))
	check("what was swept stays away", start)
}

func pathsAreFenced(t *testing.T, s registry.Store) {
	ctx := t.Context()
	old := take(t, s, "a", start)
	now := take(t, s, "a", start)
	one := says(1, 2, registry.PathDirect, 0)
	is(t, "a holder of before", s.PutPaths(ctx, old, start, []registry.Path{one}), registry.ErrFenced)
	is(t, "nothing by a holder of before", s.PutPaths(ctx, old, start, nil), registry.ErrFenced)
	is(t, "after it lapsed", s.PutPaths(ctx, now, start.Add(ttl), []registry.Path{one}), registry.ErrFenced)
	must(t, "presence", putPresence(t, s, now, start, at(start, 1)))
	equal(t, "pairs", len(pairs(t, s, registry.PairQuery{}, start)), 0)
	if err := s.PutPaths(ctx, now, start, slices.Repeat([]registry.Path{one}, registry.MaxBatch+1)); err == nil {
		t.Error("a batch beyond the bound was taken")
	}

	// What an older connection said comes late, and loses.
	late := says(1, 2, registry.PathRelayed, 0)
	late.Session = start.Add(-time.Hour)
	must(t, "put twice in a batch", s.PutPaths(ctx, now, start, []registry.Path{says(1, 2, registry.PathRelayed, 0), one}))
	must(t, "put late", s.PutPaths(ctx, now, start, []registry.Path{late}))
	equal(t, "kind", pairs(t, s, registry.PairQuery{}, start)[0].Kind, registry.PathDirect)
}

func pairsAreListed(t *testing.T, s registry.Store) {
	ctx := t.Context()
	a := take(t, s, "a", start)
	var all []registry.Pair
	var paths []registry.Path
	for n := range 9 {
		kind := registry.PathKind(n%3 + 1)
		p := says(0, n+1, kind, time.Duration(n)*time.Second)
		paths, all = append(paths, p), append(all, pairOf(p, -1, -1))
	}
	must(t, "presence", putPresence(t, s, a, start, at(start, 0)))
	must(t, "put", s.PutPaths(ctx, a, start, paths))
	slices.SortFunc(all, func(a, b registry.Pair) int {
		if by := a.Peers[0].Compare(b.Peers[0]); by != 0 {
			return by
		}
		return a.Peers[1].Compare(b.Peers[1])
	})
	var listed []registry.Pair
	var after [2]ident.PeerID
	for range 3 {
		page := pairs(t, s, registry.PairQuery{After: after, Limit: 4}, start)
		listed = append(listed, page...)
		after = page[len(page)-1].Peers
	}
	if !slices.Equal(listed, all) {
		t.Errorf("listed %+v, want %+v", listed, all)
	}
	yes, no := true, false
	for name, c := range map[string]struct {
		q    registry.PairQuery
		want int
	}{
		"relayed":         {registry.PairQuery{Relayed: &yes}, 3},
		"not relayed":     {registry.PairQuery{Relayed: &no}, 6},
		"of everyone's":   {registry.PairQuery{Peer: id(0)}, 9},
		"of one":          {registry.PairQuery{Peer: id(4)}, 1},
		"of one, relayed": {registry.PairQuery{Peer: id(4), Relayed: &yes}, 0},
		"of nobody":       {registry.PairQuery{Peer: id(77)}, 0},
	} {
		equal(t, name, len(pairs(t, s, c.q, start)), c.want)
	}
	counts, err := s.CountPairs(ctx, start)
	must(t, "count", err)
	equal(t, "counted", counts[a.Epoch], registry.PairCount{Direct: 6, Relayed: 3})
}

// minute is the nth minute of an instance.
func minute(instance string, n int) registry.Minute {
	return registry.Minute{
		At: start.Truncate(time.Minute).Add(time.Duration(n) * time.Minute), Instance: instance, Peers: 10 + n,
		Pairs: registry.PairCount{Direct: n, Relayed: 2 * n}, RelayBytes: 1 << 40, RelayPackets: 7, Registrations: 1, Refusals: 2,
	}
}

func historyIsInSpans(t *testing.T, s registry.Store) {
	ctx := t.Context()
	for n := range 6 {
		if n != 4 { // in which nobody ran
			must(t, "add", s.AddMinute(ctx, minute("a", n)))
		}
	}
	must(t, "add", s.AddMinute(ctx, minute("b", 1)))
	again := minute("b", 1)
	again.Peers = 20
	must(t, "the same minute again", s.AddMinute(ctx, again))

	from := minute("", 0).At
	got, err := s.History(ctx, from, from.Add(5*time.Minute), 2*time.Minute)
	must(t, "history", err)
	want := []registry.Span{
		{At: from, Peers: 31, Pairs: registry.PairCount{Direct: 2, Relayed: 4}, RelayBytes: 4 << 40, RelayPackets: 28, Registrations: 4, Refusals: 8},
		{At: from.Add(2 * time.Minute), Peers: 13, Pairs: registry.PairCount{Direct: 3, Relayed: 6}, RelayBytes: 2 << 40, RelayPackets: 14, Registrations: 2, Refusals: 4},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	last, err := s.LastMinutes(ctx, from.Add(2*time.Minute))
	must(t, "last", err)
	if len(last) != 1 || last["a"] != minute("a", 5) {
		t.Errorf("last %+v", last)
	}
	must(t, "sweep", s.Sweep(ctx, from.Add(registry.HistoryKept+time.Minute)))
	got, err = s.History(ctx, from, from.Add(time.Hour), time.Minute)
	must(t, "history", err)
	if len(got) != 3 || !got[0].At.Equal(from.Add(2*time.Minute)) {
		t.Errorf("kept %+v", got)
	}
}

func relayUseAddsUp(t *testing.T, s registry.Store) {
	ctx := t.Context()
	admit(t, s, 1)
	today := registry.DayOf(start)
	use := func(peer int, n int64) registry.RelayUse {
		return registry.RelayUse{Peer: id(peer), SentBytes: n << 40, SentPackets: n, ReceivedBytes: 2 * n, ReceivedPackets: 3 * n}
	}
	add := func(day registry.Day, uses ...registry.RelayUse) {
		t.Helper()
		must(t, "add", s.AddRelayUse(ctx, day, uses))
	}
	add(today, use(1, 1), use(2, 5))
	add(today, use(1, 2))
	add(today-1, use(1, 10))
	add(today, []registry.RelayUse{}...)
	ok, failed := race(6, func(i int) error {
		uses := []registry.RelayUse{use(8, 1), use(9, 1)}
		if i%2 == 1 {
			slices.Reverse(uses)
		}
		return s.AddRelayUse(ctx, today-2, uses)
	})
	if ok != 6 {
		t.Errorf("raced: %v", failed)
	}

	most, err := s.RelayUse(ctx, registry.RelayQuery{Since: today - 1, Limit: 10})
	must(t, "use", err)
	first := use(1, 13)
	first.Name = "péer \u4e16"
	if want := []registry.RelayUse{first, use(2, 5)}; !slices.Equal(most, want) {
		t.Errorf("got %+v, want %+v", most, want)
	}
	most, err = s.RelayUse(ctx, registry.RelayQuery{Since: today - 2, Limit: 3})
	must(t, "use", err)
	if len(most) != 3 || most[2].SentBytes != 6<<40 {
		t.Errorf("got %+v", most)
	}
	days, err := s.RelayDays(ctx, today-1, ident.PeerID{})
	must(t, "days", err)
	if len(days) != 2 || days[0] != (registry.RelayDay{Day: today - 1, SentBytes: 10 << 40, SentPackets: 10, ReceivedBytes: 20, ReceivedPackets: 30}) || days[1].SentPackets != 8 {
		t.Errorf("days %+v", days)
	}
	days, err = s.RelayDays(ctx, today-9, id(2))
	must(t, "days of one", err)
	if len(days) != 1 || days[0].SentPackets != 5 {
		t.Errorf("days of one %+v", days)
	}
	if err := s.AddRelayUse(ctx, today, make([]registry.RelayUse, registry.MaxBatch+1)); err == nil {
		t.Error("a batch beyond the bound was taken")
	}
	must(t, "sweep", s.Sweep(ctx, start.Add(registry.RelayUseKept*24*time.Hour)))
	days, err = s.RelayDays(ctx, 0, ident.PeerID{})
	must(t, "days", err)
	equal(t, "days kept", len(days), 0)
}
