package httpapi

import (
	"context"
	"net/netip"
	"time"

	"github.com/easyfind-usb/easyfind/internal/limits"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Limit configures a token bucket. The zero value stands for the default of the
// limit.
type Limit struct {
	PerMinute int
	Burst     int
}

// newLimiter returns a limiter for one kind of key.
func newLimiter[K comparable](l, otherwise Limit) *limits.Limiter[K] {
	if l == (Limit{}) {
		l = otherwise
	}
	return limits.NewLimiter[K](limits.Limit{PerSecond: float64(l.PerMinute) / 60, Burst: l.Burst}, maxKeys)
}

// maxKeys bounds the sources, or peers, that each limit remembers. A source is at
// least an IPv6 /64, so an attacker needs a /48 to use all of them.
const maxKeys = 65_536

// Limits bound the requests of one source, which is an IPv4 address or an IPv6
// /64, and those of one peer. Each instance counts on its own.
type Limits struct {
	Challenges    Limit // default: 60 a minute, 60 at once
	Registrations Limit // default: 30 a minute, 30 at once
	// NewPeers bounds the new peers that an open server registers. Default: 1 a minute, 20
	// at once.
	NewPeers Limit
	Tries    Limit // tries to pair; default: 6 a minute, 12 at once
	// Misses bounds the tries at addresses without a mailbox, of all sources together.
	// Default: 600 a minute, 1200 at once.
	Misses Limit
	Admin  Limit // failures to authenticate as an administrator; default: 30 a minute, 30 at once
	Tokens Limit // failures to authenticate as a peer; default: 120 a minute, 240 at once
	Peer   Limit // requests of one peer, from any source; default: 600 a minute, 2048 at once
}

// sourceLimit is one limit on the requests of each source.
type sourceLimit struct {
	request  string // the name of the limited request in the audit log
	limiter  *limits.Limiter[netip.Prefix]
	refusals Refusals
	now      func() time.Time
}

// sourceLimits are the limits on what one source may request.
type sourceLimits struct {
	challenges, registrations, newPeers, tries, tokens *sourceLimit
	misses                                             *sourceLimit // shared by all sources
}

func newSourceLimits(l Limits, refusals Refusals, now func() time.Time) *sourceLimits {
	limit := func(request string, l, otherwise Limit) *sourceLimit {
		return &sourceLimit{request, newLimiter[netip.Prefix](l, otherwise), refusals, now}
	}
	return &sourceLimits{
		challenges:    limit("take a challenge", l.Challenges, Limit{60, 60}),
		registrations: limit("register", l.Registrations, Limit{30, 30}),
		newPeers:      limit("register uninvited", l.NewPeers, Limit{1, 20}),
		tries:         limit("pair", l.Tries, Limit{6, 12}),
		misses:        limit("pair while many guess", l.Misses, Limit{600, 1200}),
		tokens:        limit("be a peer", l.Tokens, Limit{120, 240}),
	}
}

func newPeerLimiter(l Limits) *limits.Limiter[ident.PeerID] {
	return newLimiter[ident.PeerID](l.Peer, Limit{600, 2048})
}

// take counts a request against its source. It returns a problem if the source
// exceeds the limit.
func (l *sourceLimit) take(ctx context.Context) error {
	wait, ok := l.limiter.Take(sourceOf(ctx), l.now())
	if ok {
		return nil
	}
	l.refusals.Refused(ctx, l.request, ident.PeerID{}, registry.ErrLimited)
	return tooMany(wait)
}

// wait returns the time that the source of a request must wait before its next
// request, 0 if it need not wait. It records a wait as a refusal.
func (l *sourceLimit) wait(ctx context.Context) time.Duration {
	return l.waitOf(ctx, sourceOf(ctx), ident.PeerID{})
}

func (l *sourceLimit) waitOf(ctx context.Context, source netip.Prefix, peer ident.PeerID) time.Duration {
	wait := l.limiter.Wait(source, l.now())
	if wait > 0 {
		l.refusals.Refused(ctx, l.request, peer, registry.ErrLimited)
	}
	return wait
}

// count counts a failed attempt against the source of a request.
func (l *sourceLimit) count(ctx context.Context) { l.limiter.Take(sourceOf(ctx), l.now()) }

// Attempts limits how often a source may fail to authenticate as an administrator:
// through this interface and through the administrators' pages together.
type Attempts struct{ limit *sourceLimit }

// NewAttempts returns the limit with all its tokens. The zero Limit stands for 30
// a minute, 30 at once.
func NewAttempts(l Limit, refusals Refusals, now func() time.Time) *Attempts {
	if now == nil {
		now = time.Now
	}
	return &Attempts{&sourceLimit{"administer", newLimiter[netip.Prefix](l, Limit{30, 30}), refusals, now}}
}

// Wait returns how long the source of a request must wait before its next attempt.
// ctx is the context of a request that this package serves.
func (a *Attempts) Wait(ctx context.Context) time.Duration { return a.limit.wait(ctx) }

// Failed counts an attempt that failed.
func (a *Attempts) Failed(ctx context.Context) { a.limit.count(ctx) }

func tooMany(wait time.Duration) *api.Problem {
	p := api.NewProblem(api.CodeRateLimited)
	p.RetryAfter = jittered(wait)
	return p
}
