package history

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

const storeTimeout = 3 * time.Second

// WriteStore is the part of [Store] that writes.
type WriteStore interface {
	AddMinute(ctx context.Context, m Minute) error
	AddRelayUse(ctx context.Context, day Day, uses []RelayUse) error
}

// PairCounter counts pairs by epoch; see presence.LinkStore.
type PairCounter interface {
	CountPairs(ctx context.Context, now time.Time) (map[int64]presence.PairCount, error)
}

// Figures are the figures of this instance at a moment.
type Figures struct {
	Holder presence.Holder // of the instance's lease
	Peers  int             // connected to it

	// Counters since the instance started.
	Registrations int64 // of new peers
	Refusals      int64
	RelayBytes    int64 // in both directions
	RelayPackets  int64
	// Relay counts the traffic of each peer since it last was missing from
	// Relay. A missing peer has relayed nothing since it was last present.
	Relay []RelayUse
}

// Config configures a Recorder.
type Config struct {
	Store   WriteStore
	Pairs   PairCounter
	Figures func() Figures
	Now     func() time.Time // nil: time.Now
	Logger  *slog.Logger
}

// Recorder writes the figures of this instance once a minute.
type Recorder struct {
	cfg Config // static after NewRecorder

	// Owned by Run.
	last    Figures                    // as read last
	relay   map[ident.PeerID]RelayUse  // last.Relay by peer
	pending Minute                     // counters that are not written yet
	use     map[ident.PeerID]*RelayUse // relayed traffic that is not written yet
}

// NewRecorder returns a recorder. It starts nothing.
func NewRecorder(c Config) (*Recorder, error) {
	if c.Store == nil || c.Pairs == nil || c.Figures == nil || c.Logger == nil {
		return nil, errors.New("history: a store, pairs, figures and a logger are needed")
	}
	c.Now = registry.Clock(c.Now)
	return &Recorder{cfg: c, use: map[ident.PeerID]*RelayUse{}}, nil
}

// Run writes the figures of every minute until ctx ends, and then those of the
// minute that had begun.
func (r *Recorder) Run(ctx context.Context) error {
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
		r.record(ctx, next.Add(-time.Minute))
	}
	return nil
}

// record writes the figures of the minute that began at a time. The counters of
// a minute that cannot be written are added to the next.
func (r *Recorder) record(ctx context.Context, at time.Time) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if err := r.write(ctx, at); err != nil {
		r.cfg.Logger.Warn("cannot write the figures of a minute", "err", err)
	}
}

func (r *Recorder) write(ctx context.Context, at time.Time) error {
	r.count(r.cfg.Figures())
	errUse := r.writeRelayUse(ctx, DayOf(at))
	pairs, err := r.cfg.Pairs.CountPairs(ctx, r.cfg.Now())
	if err == nil {
		m, h := r.pending, r.last.Holder
		m.At, m.Instance, m.Peers, m.Pairs = at, h.Instance, r.last.Peers, pairs[h.Epoch]
		if err = r.cfg.Store.AddMinute(ctx, m); err == nil {
			r.pending = Minute{}
		}
	}
	return errors.Join(err, errUse)
}

// count adds the growth of the counters since the last call.
func (r *Recorder) count(now Figures) {
	r.pending.Registrations += now.Registrations - r.last.Registrations
	r.pending.Refusals += now.Refusals - r.last.Refusals
	r.pending.RelayBytes += now.RelayBytes - r.last.RelayBytes
	r.pending.RelayPackets += now.RelayPackets - r.last.RelayPackets
	r.last = now
	relay := make(map[ident.PeerID]RelayUse, len(now.Relay))
	for _, u := range now.Relay {
		relay[u.Peer] = u
		r.countPeer(u, r.relay[u.Peer])
	}
	r.relay = relay
}

func (r *Recorder) countPeer(now, before RelayUse) {
	if now.SentPackets < before.SentPackets || now.ReceivedPackets < before.ReceivedPackets {
		before = RelayUse{} // the relay dropped the peer's counters and started again at 0
	}
	if now == before || now.SentPackets+now.ReceivedPackets == 0 {
		return
	}
	sum := r.use[now.Peer]
	if sum == nil {
		sum = &RelayUse{Peer: now.Peer}
		r.use[now.Peer] = sum
	}
	sum.SentBytes += now.SentBytes - before.SentBytes
	sum.SentPackets += now.SentPackets - before.SentPackets
	sum.ReceivedBytes += now.ReceivedBytes - before.ReceivedBytes
	sum.ReceivedPackets += now.ReceivedPackets - before.ReceivedPackets
}

// writeRelayUse writes the relayed traffic of the peers in batches.
func (r *Recorder) writeRelayUse(ctx context.Context, day Day) error {
	for len(r.use) > 0 {
		var batch []RelayUse
		for _, u := range r.use {
			if batch = append(batch, *u); len(batch) == registry.MaxBatch {
				break
			}
		}
		if err := r.cfg.Store.AddRelayUse(ctx, day, batch); err != nil {
			return err
		}
		for _, u := range batch {
			delete(r.use, u.Peer)
		}
	}
	return nil
}
