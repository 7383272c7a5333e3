package registry

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Figures is what this instance sees at a moment.
type Figures struct {
	Holder Holder // of its lease
	Peers  int    // connected to it
	// What was relayed since the instance began, in both directions, and of each
	// peer. A peer that is not in Relay any more has relayed nothing since it
	// was.
	RelayBytes   int64
	RelayPackets int64
	Relay        []RelayUse
}

// counts are what happened since the last minute was kept.
type counts struct{ registrations, refusals atomic.Int64 }

// observer turns what is seen, which only grows, into figures of a minute.
type observer struct {
	minute       Minute                     // what could not be kept so far
	relayBytes   int64                      // as seen last
	relayPackets int64                      // as seen last
	relay        map[ident.PeerID]RelayUse  // as seen last
	use          map[ident.PeerID]*RelayUse // what could not be kept so far
}

const historyTimeout = 3 * time.Second // for the store

// keepHistory keeps the figures of every minute until ctx ends, and then those
// of the one that had begun.
func (r *Registry) keepHistory(ctx context.Context) {
	o := observer{use: map[ident.PeerID]*RelayUse{}}
	for ended := false; !ended; {
		now := r.cfg.Now()
		next := now.Truncate(time.Minute).Add(time.Minute)
		timer := time.NewTimer(next.Sub(now))
		select {
		case <-ctx.Done():
			ended = true
			next = r.cfg.Now().Truncate(time.Minute).Add(time.Minute)
		case <-timer.C:
		}
		timer.Stop()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), historyTimeout)
		if err := r.keepMinute(last, &o, next.Add(-time.Minute)); err != nil {
			r.cfg.Logger.Warn("figures of a minute could not be kept; what was counted goes to the next", "err", err)
		}
		cancel()
	}
}

// keepMinute keeps the figures of the minute that began at a moment.
func (r *Registry) keepMinute(ctx context.Context, o *observer, at time.Time) error {
	seen := r.cfg.Figures()
	o.count(seen)
	o.minute.Registrations += r.counts.registrations.Swap(0)
	o.minute.Refusals += r.counts.refusals.Swap(0)
	errUse := r.keepRelayUse(ctx, o, DayOf(at))
	pairs, err := r.cfg.Store.CountPairs(ctx, r.cfg.Now())
	if err == nil {
		m := o.minute
		m.At, m.Instance, m.Peers, m.Pairs = at, seen.Holder.Instance, seen.Peers, pairs[seen.Holder.Epoch]
		if err = r.cfg.Store.AddMinute(ctx, m); err == nil {
			o.minute = Minute{}
		}
	}
	return errors.Join(err, errUse)
}

// count adds what was relayed since the last look.
func (o *observer) count(seen Figures) {
	o.minute.RelayBytes += seen.RelayBytes - o.relayBytes
	o.minute.RelayPackets += seen.RelayPackets - o.relayPackets
	o.relayBytes, o.relayPackets = seen.RelayBytes, seen.RelayPackets
	now := make(map[ident.PeerID]RelayUse, len(seen.Relay))
	for _, u := range seen.Relay {
		now[u.Peer] = u
		before := o.relay[u.Peer]
		if u.SentPackets < before.SentPackets || u.ReceivedPackets < before.ReceivedPackets {
			before = RelayUse{} // it was forgotten meanwhile, and is counted anew
		}
		if u == before || u.SentPackets+u.ReceivedPackets == 0 {
			continue
		}
		sum := o.use[u.Peer]
		if sum == nil {
			sum = &RelayUse{Peer: u.Peer}
			o.use[u.Peer] = sum
		}
		sum.SentBytes += u.SentBytes - before.SentBytes
		sum.SentPackets += u.SentPackets - before.SentPackets
		sum.ReceivedBytes += u.ReceivedBytes - before.ReceivedBytes
		sum.ReceivedPackets += u.ReceivedPackets - before.ReceivedPackets
	}
	o.relay = now
}

// keepRelayUse keeps what is counted of each peer, in batches.
func (r *Registry) keepRelayUse(ctx context.Context, o *observer, day Day) error {
	for len(o.use) > 0 {
		var batch []RelayUse
		for _, u := range o.use {
			if batch = append(batch, *u); len(batch) == MaxBatch {
				break
			}
		}
		if err := r.cfg.Store.AddRelayUse(ctx, day, batch); err != nil {
			return err
		}
		for _, u := range batch {
			delete(o.use, u.Peer)
		}
	}
	return nil
}

// Pairs returns pairs of peers that have a link, in the order of their IDs.
func (r *Registry) Pairs(ctx context.Context, q PairQuery) ([]Pair, error) {
	return r.cfg.Store.Pairs(ctx, q, r.cfg.Now())
}

// CountPairs counts them.
func (r *Registry) CountPairs(ctx context.Context) (PairCount, error) {
	var all PairCount
	counts, err := r.cfg.Store.CountPairs(ctx, r.cfg.Now())
	for _, n := range counts {
		all.Direct += n.Direct
		all.Relayed += n.Relayed
	}
	return all, err
}

// History returns the figures of the last span of time, at most HistoryKept, in
// steps of whole minutes, the oldest first. A step of which there is nothing is
// left out.
func (r *Registry) History(ctx context.Context, span, step time.Duration) ([]Span, error) {
	from := HistoryFrom(r.cfg.Now(), span, step)
	return r.cfg.Store.History(ctx, from, from.Add(span+step), step)
}

// HistoryFrom is where the first step of a history begins.
func HistoryFrom(now time.Time, span, step time.Duration) time.Time {
	return now.Truncate(step).Add(step - span)
}

// RelayUse returns who relayed most in the last days, today included.
func (r *Registry) RelayUse(ctx context.Context, days, limit int) ([]RelayUse, error) {
	return r.cfg.Store.RelayUse(ctx, RelayQuery{Since: r.sinceDay(days), Limit: limit})
}

// RelayDays returns what a peer, or for the zero ID all peers, relayed on each of
// the last days, today included; days without anything are left out.
func (r *Registry) RelayDays(ctx context.Context, days int, peer ident.PeerID) ([]RelayDay, error) {
	return r.cfg.Store.RelayDays(ctx, r.sinceDay(days), peer)
}

func (r *Registry) sinceDay(days int) Day { return DayOf(r.cfg.Now()) - Day(days) + 1 }
