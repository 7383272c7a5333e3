package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

const ttl = 5 * time.Second

// take takes the lease of an instance.
func take(t *testing.T, db *database.Database, name string, now time.Time) presence.Holder {
	t.Helper()
	epoch, err := db.Leases.TakeLease(t.Context(), presence.Instance{
		Name: name, Address: name + ":1",
		Region: "in " + name, Version: "v of " + name, Relay: name + ":1-2",
	}, now, ttl)
	must(t, "take the lease of "+name, err)
	return presence.Holder{Instance: name, Epoch: epoch}
}

// leaseIsFenced checks that only the newest holder of a lease can renew it, and only before
// it lapses.
func leaseIsFenced(t *testing.T, db *database.Database) {
	ctx := t.Context()
	a := take(t, db, "a", start)
	b := take(t, db, "b", start)
	if b.Epoch <= a.Epoch {
		t.Errorf("epochs %d, then %d", a.Epoch, b.Epoch)
	}
	got, err := db.Leases.Instances(ctx, start)
	must(t, "instances", err)
	want := []presence.Instance{
		{
			Name: "a", Epoch: a.Epoch, Address: "a:1", Region: "in a", Version: "v of a", Relay: "a:1-2",
			Until: start.Add(ttl),
		},
		{
			Name: "b", Epoch: b.Epoch, Address: "b:1", Region: "in b", Version: "v of b", Relay: "b:1-2",
			Until: start.Add(ttl),
		},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}

	is(t, "renew", db.Leases.RenewLease(ctx, a, start.Add(time.Second), ttl), nil)
	is(t, "renew with a wrong epoch", db.Leases.RenewLease(ctx, presence.Holder{Instance: "a", Epoch: b.Epoch}, start,
		ttl), presence.ErrFenced)
	is(t, "renew a lapsed lease", db.Leases.RenewLease(ctx, b, start.Add(ttl), ttl), presence.ErrFenced)
	got, err = db.Leases.Instances(ctx, start.Add(ttl))
	must(t, "instances", err)
	if len(got) != 1 || got[0].Name != "a" {
		t.Errorf("after b lapsed: %+v", got)
	}

	again := take(t, db, "a", start.Add(time.Second))
	if again.Epoch <= b.Epoch {
		t.Errorf("epoch %d after %d", again.Epoch, b.Epoch)
	}
	is(t, "renew after another took it", db.Leases.RenewLease(ctx, a, start.Add(time.Second), ttl), presence.ErrFenced)
	is(t, "release by the previous holder", db.Leases.ReleaseLease(ctx, a), nil)
	is(t, "renew by the holder", db.Leases.RenewLease(ctx, again, start.Add(time.Second), ttl), nil)
	is(t, "release", db.Leases.ReleaseLease(ctx, again), nil)
	is(t, "release again", db.Leases.ReleaseLease(ctx, again), nil)
	is(t, "renew a released lease", db.Leases.RenewLease(ctx, again, start.Add(time.Second), ttl), presence.ErrFenced)
	if third := take(t, db, "a", start); third.Epoch <= again.Epoch {
		t.Errorf("epoch %d after %d was released", third.Epoch, again.Epoch)
	}
}
