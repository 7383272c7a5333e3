package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
)

// event returns an event of a kind.
func event(kind audit.Kind) audit.Event {
	return audit.Event{At: start, Kind: kind, Actor: "admin 01", Source: "192.0.2.0", Detail: "détail", Count: 1}
}

// events returns the kinds of all events, newest first.
func events(t *testing.T, db *database.Database) []audit.Kind {
	t.Helper()
	all, err := db.Audit.Events(t.Context(), audit.Query{Limit: 1000})
	must(t, "events", err)
	var kinds []audit.Kind
	for _, e := range all {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// eventsAreOrdered checks the order of events, and the filters and pages of queries.
func eventsAreOrdered(t *testing.T, db *database.Database) {
	ctx := t.Context()
	first, second, third := event(audit.KindPaired), event(audit.KindRefused), event(audit.KindRefused)
	first.Peer, first.Other = id(1), id(2)
	third.Peer, third.Count, third.Source = id(1), 7, ""
	must(t, "add", db.Audit.AddEvents(ctx, []audit.Event{first, second}))
	must(t, "add", db.Audit.AddEvents(ctx, []audit.Event{third}))
	must(t, "add nothing", db.Audit.AddEvents(ctx, nil))
	if err := db.Audit.AddEvents(ctx, make([]audit.Event, registry.MaxBatch+1)); err == nil {
		t.Error("a batch beyond the bound was accepted")
	}

	all, err := db.Audit.Events(ctx, audit.Query{Limit: 10})
	must(t, "read", err)
	if len(all) != 3 || all[0].Number <= all[1].Number || all[1].Number <= all[2].Number {
		t.Fatalf("got %+v", all)
	}
	for i, want := range []audit.Event{third, second, first} {
		want.Number = all[i].Number
		equal(t, "event", all[i], want)
	}
	for name, c := range map[string]struct {
		q    audit.Query
		want []audit.Event
	}{
		"a page":            {audit.Query{Limit: 2}, all[:2]},
		"the page after":    {audit.Query{Limit: 2, Before: all[1].Number}, all[2:]},
		"of a kind":         {audit.Query{Limit: 9, Kind: audit.KindRefused}, all[:2]},
		"about a peer":      {audit.Query{Limit: 9, Peer: id(1)}, []audit.Event{all[0], all[2]}},
		"both, from a page": {audit.Query{Limit: 9, Peer: id(1), Kind: audit.KindRefused, Before: all[0].Number}, nil},
	} {
		got, err := db.Audit.Events(ctx, c.q)
		must(t, name, err)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

// refusalsDisplaceNoOtherEvents checks that a sweep removes the oldest refusals beyond their bound and all
// expired events.
func refusalsDisplaceNoOtherEvents(t *testing.T, db *database.Database) {
	ctx := t.Context()
	must(t, "add", db.Audit.AddEvents(ctx, []audit.Event{event(audit.KindPaired)}))
	refusals := slices.Repeat([]audit.Event{event(audit.KindRefused)}, 1000)
	for range audit.MaxRefusals/len(refusals) + 1 {
		must(t, "add", db.Audit.AddEvents(ctx, refusals))
	}
	recent := event(audit.KindTokenCreated)
	recent.At = start.Add(time.Hour)
	must(t, "add", db.Audit.AddEvents(ctx, []audit.Event{recent}))
	must(t, "sweep early", db.Sweep(ctx, start.Add(time.Hour)))
	kept, err := db.Audit.Events(ctx, audit.Query{Limit: 2 * audit.MaxRefusals})
	must(t, "read", err)
	equal(t, "events kept", len(kept), audit.MaxRefusals+2)
	equal(t, "the newest", kept[0].Kind, audit.KindTokenCreated)
	equal(t, "the oldest", kept[len(kept)-1].Kind, audit.KindPaired)
	must(t, "sweep late", db.Sweep(ctx, start.Add(audit.Retention)))
	if got := events(t, db); !slices.Equal(got, []audit.Kind{audit.KindTokenCreated}) {
		t.Errorf("remaining: %v", got)
	}
}
