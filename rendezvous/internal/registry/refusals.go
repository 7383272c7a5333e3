package registry

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Refusals are counted, and kept as one event for each reason and source in
// every refusalsEvery. Beyond maxRefused sources they are counted together: a
// flood costs the store no more than that.
const (
	refusalsEvery   = time.Minute
	maxRefused      = 64
	refusalsTimeout = 2 * time.Second // for the store, at the end
)

// refused are the errors that are refusals, and what they are counted as.
var refused = []struct {
	err    error
	reason string
}{
	{ErrUnauthenticated, "token"},
	{ErrNotAdmin, "not_admin"},
	{ErrAdminLink, "admin_link"},
	{ErrSignature, "signature"},
	{ErrBinding, "binding"},
	{ErrOrigin, "origin"},
	{ErrReplayed, "replayed"},
	{ErrInviteNeeded, "invite_needed"},
	{ErrInvite, "invite"},
	{ErrRevoked, "revoked"},
	{ErrFull, "full"},
	{ErrLimited, "rate"},
	{ErrMailboxNotFound, "no_mailbox"},
	{ErrMailboxBurned, "burned"},
}

// refusal is what is counted together.
type refusal struct{ what, source string }

type refusals struct {
	sync.Mutex
	counted map[refusal]Event
}

// Refused counts a refusal of what is asked under a context, by its reason. An
// error that is no refusal is left aside. what says what was asked for; peer is
// whom it is about, one of those that are counted together. It is zero if
// nobody is.
func (r *Registry) Refused(ctx context.Context, what string, peer ident.PeerID, err error) {
	for _, reason := range refused {
		if !errors.Is(err, reason.err) {
			continue
		}
		r.cfg.Observe(what, reason.reason, true)
		e := r.event(ctx, EventRefused)
		e.Peer, e.Detail = peer, detail(what+":", reason.err.Error())
		r.refusals.count(e)
		r.counts.refusals.Add(1)
		return
	}
}

func (r *refusals) count(e Event) {
	r.Lock()
	defer r.Unlock()
	key := refusal{e.Detail, e.Source}
	if _, known := r.counted[key]; !known && len(r.counted) >= maxRefused {
		key.source, e.Source, e.Peer = "", "", ident.PeerID{}
	}
	before, known := r.counted[key]
	if known {
		before.Count++
		e = before
	}
	r.counted[key] = e
}

// take returns what was counted, and begins anew.
func (r *refusals) take() []Event {
	r.Lock()
	defer r.Unlock()
	var events []Event
	for _, e := range r.counted {
		events = append(events, e)
	}
	clear(r.counted)
	return events
}

// keepRefusals writes what was counted until ctx ends, and then once more.
func (r *Registry) keepRefusals(ctx context.Context) {
	tick := time.NewTicker(refusalsEvery)
	defer tick.Stop()
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			ended = true
		case <-tick.C:
		}
		events := r.refusals.take()
		if len(events) == 0 {
			continue
		}
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), refusalsTimeout)
		if err := r.cfg.Store.AddEvents(last, events); err != nil {
			r.cfg.Logger.Warn("refusals could not be kept in the audit log", "events", len(events), "err", err)
		}
		cancel()
	}
}
