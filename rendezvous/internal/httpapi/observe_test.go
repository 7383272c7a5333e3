//go:build unix

package httpapi_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/history"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

func TestPairsAreListed(t *testing.T) {
	onBothStores(t, func(t *testing.T, store *database.Database) {
		b := newBench(t, store, nil)
		token := b.admin(api.ScopePeers)
		h, now := connectAll(t, b, store, 1, 2, 3)
		one, two, three := b.join(1), b.join(2), b.join(3)
		path := func(from, to peer, kind presence.LinkKind) presence.LinkReport {
			return presence.LinkReport{
				From:      from.id,
				To:        to.id,
				Connected: now,
				Kind:      kind,
				Transport: 1,
				RTT:       7 * time.Millisecond,
				Since:     now,
			}
		}
		if err := store.Links.PutLinkReports(t.Context(), h, now, []presence.LinkReport{
			path(one, two, presence.LinkRelayed), path(two, three, presence.LinkDirect),
			path(three, one, presence.LinkLAN),
		}); err != nil {
			t.Fatal(err)
		}
		var all []api.Pair
		next := ""
		for range 3 {
			page := as[api.Pairs](t, b.get(api.PathPairs+"?limit=1&after="+next, token), http.StatusOK)
			all = append(all, page.Pairs...)
			next = page.Next
		}
		if len(all) != 3 || next != "" {
			t.Fatalf("pairs %+v, then %q", all, next)
		}
		for _, p := range all {
			if p.Peer.Compare(p.Other) >= 0 || p.Name == "" || p.OtherName == "" || p.Transport != "udp" ||
				p.RTTMillis != 7 ||
				!p.Since.Equal(now) {
				t.Errorf("pair %+v", p)
			}
		}
		kinds := func(query string) []string {
			list := []string{}
			for _, p := range as[api.Pairs](t, b.get(api.PathPairs+query, token), http.StatusOK).Pairs {
				list = append(list, p.Path)
			}
			slices.Sort(list)
			return list
		}
		for query, want := range map[string][]string{
			"":                                    {"direct", "lan", "relayed"},
			"?path=relayed":                       {"relayed"},
			"?path=direct":                        {"direct", "lan"},
			"?peer=" + one.id.String():            {"lan", "relayed"},
			"?peer=" + newKey(t, 9).ID().String(): {},
		} {
			if got := kinds(query); !slices.Equal(got, want) {
				t.Errorf("%q: %v, want %v", query, got, want)
			}
		}
		refused(t, "a bad cursor", b.get(api.PathPairs+"?after=x", token), api.CodeInvalid)
		refused(t, "a bad PeerID", b.get(api.PathPairs+"?peer=x", token), api.CodeInvalid)
		refused(t, "a bad path", b.get(api.PathPairs+"?path=x", token), api.CodeInvalid)
		refused(t, "another scope", b.get(api.PathPairs, b.admin(api.ScopeAudit)), api.CodeScope)
	})
}

// connectAll stores the presence of peers, given by their numbers, as an instance does.
func connectAll(t *testing.T, b *bench, store *database.Database, numbers ...int) (presence.Holder, time.Time) {
	t.Helper()
	now := b.clock.Now().UTC()
	epoch, err := store.Leases.TakeLease(t.Context(), presence.Instance{Name: "a", Version: "1.2.3"}, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	h := presence.Holder{Instance: "a", Epoch: epoch}
	var rows []presence.Connection
	for _, n := range numbers {
		rows = append(rows, presence.Connection{Peer: newKey(t, n).ID(), Since: now})
	}
	if _, err := store.Presence.PutPresence(t.Context(), h, now, rows); err != nil {
		t.Fatal(err)
	}
	return h, now
}

func TestHistoryAndLoad(t *testing.T) {
	onBothStores(t, func(t *testing.T, store *database.Database) {
		b := newBench(t, store, nil)
		token := b.admin(api.ScopeAudit)
		connectAll(t, b, store, 1, 2)
		now := b.clock.Now().UTC().Truncate(time.Minute)
		for n := range 3 {
			m := history.Minute{
				At:            now.Add(-time.Duration(n) * time.Hour),
				Instance:      "a",
				Peers:         n + 1,
				RelayBytes:    100,
				RelayPackets:  1,
				Registrations: 2,
				Refusals:      3,
			}
			if err := store.History.AddMinute(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		got := as[api.History](t, b.get(api.PathHistory+"?hours=2&seconds=600", token), http.StatusOK)
		if len(got.Points) != 2 || got.Points[0].Peers != 2 || got.Points[1].Peers != 1 ||
			got.Points[1].RelayBytes != 100 ||
			got.Seconds != 600 {
			t.Errorf("history %+v", got)
		}
		list := as[api.Instances](t, b.get(api.PathInstances, token), http.StatusOK).Instances
		if len(list) != 1 || list[0].Version != "1.2.3" || list[0].Peers != 2 || list[0].Load == nil ||
			list[0].Load.Refusals != 3 {
			t.Errorf("instances %+v", list)
		}
		for _, query := range []string{
			"?hours=0", "?hours=169", "?seconds=59", "?seconds=90", "?seconds=7200", "?x=1",
		} {
			refused(t, query, b.get(api.PathHistory+query, token), api.CodeInvalid)
		}
		refused(t, "another scope", b.get(api.PathHistory, b.admin(api.ScopePeers)), api.CodeScope)
	})
}

func TestRelayUseIsListed(t *testing.T) {
	onBothStores(t, func(t *testing.T, store *database.Database) {
		b := newBench(t, store, nil)
		token := b.admin(api.ScopePeers)
		one, two := b.join(1), b.join(2)
		today := history.DayOf(b.clock.Now())
		for n, id := range []peer{one, two, two} {
			use := history.RelayUse{
				Peer:            id.id,
				SentBytes:       1000,
				SentPackets:     10,
				ReceivedBytes:   5,
				ReceivedPackets: 1,
			}
			day := today - history.Day(n)
			if err := store.History.AddRelayUse(t.Context(), day, []history.RelayUse{use}); err != nil {
				t.Fatal(err)
			}
		}
		get := func(query string) api.RelayUse {
			return as[api.RelayUse](t, b.get(api.PathRelayUse+query, token), http.StatusOK)
		}
		all := get("")
		most := api.PeerRelayUse{
			Peer: two.id, Name: "peer 2", SentBytes: 2000, SentPackets: 20, ReceivedBytes: 10, ReceivedPackets: 2,
		}
		if len(all.Days) != 3 || all.Days[2].Day != today.Time().Format(time.DateOnly) || len(all.Peers) != 2 ||
			all.Peers[0] != most {
			t.Errorf("all %+v", all)
		}
		if of := get("?days=2&peer=" + two.id.String()); len(of.Days) != 1 || len(of.Peers) != 1 ||
			of.Peers[0].SentBytes != 1000 {
			t.Errorf("use of the second peer %+v", of)
		}
		if none := get("?peer=" + newKey(t, 9).ID().String()); len(none.Days) != 0 || len(none.Peers) != 0 {
			t.Errorf("use of an unknown peer %+v", none)
		}
		refused(t, "a bad PeerID", b.get(api.PathRelayUse+"?peer=x", token), api.CodeInvalid)
		refused(t, "too many days", b.get(api.PathRelayUse+"?days=91", token), api.CodeInvalid)
	})
}
