package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// report returns a report of one peer about its link to another, on the connection
// that began at start.
func report(from, to int, kind presence.LinkKind, after time.Duration) presence.LinkReport {
	p := presence.LinkReport{From: id(from), To: id(to), Connected: start, Kind: kind, Since: start.Add(after)}
	if kind != presence.LinkNone {
		p.Transport, p.RTT = presence.Transport(2), 21*time.Millisecond
	}
	return p
}

// pairOf returns the pair that a store returns for a report. The peers with these
// numbers are registered.
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

// pairs returns the pairs that a query selects.
func pairs(t *testing.T, db *database.Database, q presence.PairQuery, now time.Time) []presence.Pair {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	all, err := db.Links.Pairs(t.Context(), q, now)
	must(t, "pairs", err)
	return all
}

// reportsEndWithTheirConnection checks that a link report counts only while the connection stands on which it
// arrived, and that the later of two reports counts.
func reportsEndWithTheirConnection(t *testing.T, db *database.Database) {
	ctx := t.Context()
	admit(t, db, 1)
	admit(t, db, 2)
	a, b := take(t, db, "a", start), take(t, db, "b", start)
	put := func(h presence.Holder, reports ...presence.LinkReport) {
		t.Helper()
		must(t, "put", db.Links.PutLinkReports(ctx, h, start, reports))
	}
	check := func(what string, now time.Time, want ...presence.Pair) {
		t.Helper()
		if got := pairs(t, db, presence.PairQuery{}, now); !slices.Equal(got, want) {
			t.Errorf("%s: got %+v, want %+v", what, got, want)
		}
	}
	must(t, "presence", putPresence(t, db, a, start, at(start, 1)))
	relayed, direct := report(1, 2, presence.LinkRelayed, time.Second), report(2, 1, presence.LinkDirect, 2*time.Second)
	put(a, relayed)
	put(a, relayed)
	check("reported by one peer", start, pairOf(relayed, 1, 2))
	put(b, direct)
	check("reported by a second peer that is not connected", start, pairOf(relayed, 1, 2))
	must(t, "presence", putPresence(t, db, b, start, at(start, 2)))
	check("reported by both peers", start, pairOf(direct, 1, 2))

	counts, err := db.Links.CountPairs(ctx, start)
	must(t, "count", err)
	if len(counts) != 1 || counts[b.Epoch] != (presence.PairCount{Direct: 1}) {
		t.Errorf("counted %+v", counts)
	}
	must(t, "remove", db.Presence.RemovePresence(ctx, b, start, at(start, 2)))
	check("after the second peer disconnected", start, pairOf(relayed, 1, 2))
	must(t, "come back", putPresence(t, db, b, start, at(start.Add(time.Second), 2)))
	check("without a report on its new connection", start, pairOf(relayed, 1, 2))
	check("after the lease lapsed", start.Add(ttl))
	put(a, report(1, 2, presence.LinkNone, 0))
	check("after the link ended", start)
	must(t, "sweep", db.Sweep(ctx, start))
	must(t, "the previous connection again", putPresence(t, db, b, start, at(start.Add(-time.Second), 2)))
	must(t, "it ends", db.Presence.RemovePresence(ctx, b, start, at(start.Add(time.Second), 2)))
	must(t, "it begins again", putPresence(t, db, b, start, at(start, 2)))
	check("after the sweep", start)
}

// staleHolderReportsNothing checks that a holder without a lease cannot write reports, and that a report
// of an older connection loses.
func staleHolderReportsNothing(t *testing.T, db *database.Database) {
	ctx := t.Context()
	old := take(t, db, "a", start)
	now := take(t, db, "a", start)
	one := report(1, 2, presence.LinkDirect, 0)
	is(t, "a previous holder", db.Links.PutLinkReports(ctx, old, start, []presence.LinkReport{one}), presence.ErrFenced)
	is(t, "an empty batch of a previous holder", db.Links.PutLinkReports(ctx, old, start, nil), presence.ErrFenced)
	is(t, "after it lapsed", db.Links.PutLinkReports(ctx, now, start.Add(ttl), []presence.LinkReport{one}),
		presence.ErrFenced)
	must(t, "presence", putPresence(t, db, now, start, at(start, 1)))
	equal(t, "pairs", len(pairs(t, db, presence.PairQuery{}, start)), 0)
	if err := db.Links.PutLinkReports(ctx, now, start, slices.Repeat([]presence.LinkReport{one},
		registry.MaxBatch+1)); err == nil {
		t.Error("a batch beyond the bound was accepted")
	}

	// A report of an older connection arrives late.
	late := report(1, 2, presence.LinkRelayed, 0)
	late.Connected = start.Add(-time.Hour)
	must(t, "put twice in a batch", db.Links.PutLinkReports(ctx, now, start, []presence.LinkReport{report(1, 2,
		presence.LinkRelayed, 0), one}))
	must(t, "put late", db.Links.PutLinkReports(ctx, now, start, []presence.LinkReport{late}))
	equal(t, "kind", pairs(t, db, presence.PairQuery{}, start)[0].Kind, presence.LinkDirect)
}

// pairsAreListed checks pages, filters and the count of pairs.
func pairsAreListed(t *testing.T, db *database.Database) {
	ctx := t.Context()
	a := take(t, db, "a", start)
	var all []presence.Pair
	var reports []presence.LinkReport
	for n := range 9 {
		kind := presence.LinkKind(n%3 + 1)
		p := report(0, n+1, kind, time.Duration(n)*time.Second)
		reports, all = append(reports, p), append(all, pairOf(p, -1, -1))
	}
	must(t, "presence", putPresence(t, db, a, start, at(start, 0)))
	must(t, "put", db.Links.PutLinkReports(ctx, a, start, reports))
	slices.SortFunc(all, func(a, b presence.Pair) int {
		if by := a.Peers[0].Compare(b.Peers[0]); by != 0 {
			return by
		}
		return a.Peers[1].Compare(b.Peers[1])
	})
	var listed []presence.Pair
	var after [2]ident.PeerID
	for range 3 {
		page := pairs(t, db, presence.PairQuery{After: after, Limit: 4}, start)
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
		"relayed":                  {presence.PairQuery{Relayed: &yes}, 3},
		"not relayed":              {presence.PairQuery{Relayed: &no}, 6},
		"of a peer with all links": {presence.PairQuery{Peer: id(0)}, 9},
		"of another peer":          {presence.PairQuery{Peer: id(4)}, 1},
		"relayed, of another peer": {presence.PairQuery{Peer: id(4), Relayed: &yes}, 0},
		"of a peer without a link": {presence.PairQuery{Peer: id(77)}, 0},
	} {
		equal(t, name, len(pairs(t, db, c.q, start)), c.want)
	}
	counts, err := db.Links.CountPairs(ctx, start)
	must(t, "count", err)
	equal(t, "counted", counts[a.Epoch], presence.PairCount{Direct: 6, Relayed: 3})
}
