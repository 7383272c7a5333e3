// Package registry is what a rendezvous knows: its peers and their tokens, the
// invites, who may find whom, the pairing mailboxes, and at which instance a
// peer is connected. It has no clock and no database of its own: both are
// given to it, and it declares the [Store] it wants.
package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Config is what a registry needs. The zero value of a limit is its default.
type Config struct {
	Store Store
	// Open lets new peers register without an invite. Closed is the default.
	Open bool
	// RequireBinding refuses registrations that are bound neither to their TLS
	// connection nor to the origin at which they reach this rendezvous through a
	// trusted proxy.
	RequireBinding bool
	Random         io.Reader        // crypto/rand without one
	Now            func() time.Time // time.Now without one
	Logger         *slog.Logger

	MaxPeers     int           // registered peers in all; 0 is 1,000,000
	MaxMailboxes int           // open mailboxes of one peer; 0 is 4
	PollEvery    time.Duration // between two looks at a mailbox that is waited for; 0 is 150 ms
	SweepEvery   time.Duration // 0 is a minute
	WatchEvery   time.Duration // between two looks for revocations by other instances; 0 is a second

	// Figures tells what this instance sees, for the history that is kept of it.
	// Nil keeps none.
	Figures func() Figures

	// OnRevoked ends what a peer that was revoked at a moment has at this
	// instance. It is called several times for each revocation, and must not
	// block. Nil is fine.
	OnRevoked func(id ident.PeerID, at time.Time)
	// Observe is told what was asked for and what it came to: of "register" and
	// "pair" both, of everything else the refusals. Both words are of small sets.
	// Nil is fine.
	Observe func(asked, result string, refused bool)
}

// Registry answers what peers ask of a rendezvous.
type Registry struct {
	cfg Config // static after New

	peers atomic.Int64 // as counted last, and those admitted since

	refusals refusals
	counts   counts

	secrets struct { // that all instances share
		sync.Mutex
		known map[string][]byte // those that were read from the store
	}
}

// New makes a registry over a store. It does not touch the store.
func New(cfg Config) (*Registry, error) {
	if cfg.Store == nil {
		return nil, errors.New("registry: no store")
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	now := cfg.Now
	// Stores keep times to the millisecond, so that is how exactly the registry
	// tells them: what is made is the same as what is read again.
	cfg.Now = func() time.Time { return now().Truncate(time.Millisecond) }
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Observe == nil {
		cfg.Observe = func(string, string, bool) {}
	}
	orDefault(&cfg.MaxPeers, 1_000_000)
	orDefault(&cfg.MaxMailboxes, 4)
	orDefault(&cfg.PollEvery, 150*time.Millisecond)
	orDefault(&cfg.SweepEvery, time.Minute)
	orDefault(&cfg.WatchEvery, time.Second)
	r := &Registry{cfg: cfg}
	r.refusals.counted = map[refusal]Event{}
	r.secrets.known = map[string][]byte{}
	return r, nil
}

func orDefault[T ~int | ~int64](v *T, otherwise T) {
	if *v <= 0 {
		*v = otherwise
	}
}

// Run counts the peers, sweeps the store, keeps the refusals and tells of
// revocations until ctx ends. A store that fails is logged and tried again.
func (r *Registry) Run(ctx context.Context) error {
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { r.keepRefusals(ctx) })
	if r.cfg.Figures != nil {
		beside.Go(func() { r.keepHistory(ctx) })
	}
	if r.cfg.OnRevoked != nil {
		beside.Go(func() { r.watchRevocations(ctx) })
	}
	tick := time.NewTicker(r.cfg.SweepEvery)
	defer tick.Stop()
	for {
		if err := r.upkeep(ctx); err != nil && ctx.Err() == nil {
			r.cfg.Logger.Warn("the registry's upkeep failed; it goes on", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (r *Registry) upkeep(ctx context.Context) error {
	n, err := r.cfg.Store.CountPeers(ctx)
	if err != nil {
		return err
	}
	r.peers.Store(int64(n))
	return r.cfg.Store.Sweep(ctx, r.cfg.Now())
}

// Ready reports whether the registry can do its work.
func (r *Registry) Ready(ctx context.Context) error { return r.cfg.Store.Ping(ctx) }

// Registered is how many peers are registered, as counted within the last
// minute.
func (r *Registry) Registered() int { return int(r.peers.Load()) }

// Open reports whether new peers need no invite.
func (r *Registry) Open() bool { return r.cfg.Open }

// limits of one peer's mailboxes. Those that are over count for a while, so
// that opening and closing them fills no table.
func (r *Registry) mailboxLimit() MailboxLimit {
	return MailboxLimit{Open: r.cfg.MaxMailboxes, Kept: 16 * r.cfg.MaxMailboxes}
}

// How long a Store keeps what is over, until Sweep removes it.
const (
	// Who comes late to a mailbox shall hear that it expired rather than that
	// it never was.
	MailboxKept = api.MailboxTTL
	// An operator may look at invites that have ended.
	InviteKept = 7 * 24 * time.Hour
	// How long an approval is good.
	ApprovalTTL = 7 * 24 * time.Hour
	TokenKept   = 7 * 24 * time.Hour
	// The audit log goes back so far. It holds so many refusals at most, and so
	// many other events: a flood of refusals pushes out nothing else.
	EventsKept  = 90 * 24 * time.Hour
	MaxRefusals = 5_000
	MaxEvents   = 200_000
	// A clock that runs ahead must not remove a lease that still holds.
	InstanceKept = time.Minute
)

// Pool tells of the connections to the database.
func (r *Registry) Pool() Pool { return r.cfg.Store.Pool() }
