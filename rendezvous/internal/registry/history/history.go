// Package history keeps figures of every instance by the minute, and the bytes
// that each peer relayed by the day.
package history

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// Retention times.
const (
	Retention    = 7 * 24 * time.Hour // of the figures by the minute
	RelayUseDays = 90                 // of the relayed bytes by the day
)

// Store keeps the figures.
type Store interface {
	// AddMinute keeps the figures of one minute of an instance. If the minute is
	// there already, its counters are added up and its gauges are replaced.
	AddMinute(ctx context.Context, m Minute) error
	// History returns the minutes since from and before to of all instances, in
	// steps of whole minutes. Steps without a minute are left out.
	History(ctx context.Context, from, to time.Time, step time.Duration) ([]Span, error)
	// LastMinutes returns the newest minute of each instance since a time.
	LastMinutes(ctx context.Context, since time.Time) (map[string]Minute, error)
	// AddRelayUse adds to the relayed bytes of peers on a day, at most
	// registry.MaxBatch peers, each once.
	AddRelayUse(ctx context.Context, day Day, uses []RelayUse) error
	// RelayUse returns the peers that relayed most, in descending order.
	RelayUse(ctx context.Context, q RelayQuery) ([]RelayUse, error)
	// RelayDays returns the relayed bytes of each day since a day, of one peer
	// or, for the zero ID, of all peers.
	RelayDays(ctx context.Context, since Day, peer ident.PeerID) ([]RelayDay, error)
}

// Minute holds the figures of one instance in one minute.
type Minute struct {
	At       time.Time // the minute's beginning
	Instance string

	// Gauges, measured at the minute's end.
	Peers int // connected
	Pairs presence.PairCount

	// Counters of the minute.
	RelayBytes    int64 // in both directions
	RelayPackets  int64
	Registrations int64 // of new peers
	Refusals      int64
}

// Span holds the figures of all instances in a span of time: the maximum of each
// gauge and the sum of each counter of [Minute].
type Span struct {
	At            time.Time // the span's beginning
	Peers         int
	Pairs         presence.PairCount
	RelayBytes    int64
	RelayPackets  int64
	Registrations int64
	Refusals      int64
}

// Day is a day in UTC, counted from 1970.
type Day int64

// DayOf returns the day of a time.
func DayOf(t time.Time) Day { return Day(t.Unix() / 86400) }

// Time returns the beginning of the day.
func (d Day) Time() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

// RelayQuery selects the peers that relayed most.
type RelayQuery struct {
	Since Day
	Limit int // at least 1
}

// RelayUse is the traffic that one peer relayed. Bytes are those of the relayed
// packets themselves.
type RelayUse struct {
	Peer            ident.PeerID
	Name            string // "" for a peer that is no longer registered; AddRelayUse ignores it
	SentBytes       int64  // by the peer, through the relay
	SentPackets     int64
	ReceivedBytes   int64 // by the peer, from the relay
	ReceivedPackets int64
}

// Bytes returns the sum of both directions.
func (u RelayUse) Bytes() int64 { return u.SentBytes + u.ReceivedBytes }

// RelayDay is the traffic that was relayed on one day.
type RelayDay struct {
	Day             Day
	SentBytes       int64
	SentPackets     int64
	ReceivedBytes   int64
	ReceivedPackets int64
}

// ReadStore is the part of [Store] that reads.
type ReadStore interface {
	History(ctx context.Context, from, to time.Time, step time.Duration) ([]Span, error)
	RelayUse(ctx context.Context, q RelayQuery) ([]RelayUse, error)
	RelayDays(ctx context.Context, since Day, peer ident.PeerID) ([]RelayDay, error)
}

// Reader reads the history.
type Reader struct {
	store ReadStore
	now   func() time.Time
}

// NewReader returns a reader. A nil now is time.Now.
func NewReader(store ReadStore, now func() time.Time) *Reader {
	return &Reader{store: store, now: registry.Clock(now)}
}

// History returns the figures of the last span of time, at most Retention, in
// steps of whole minutes, the oldest first. Steps without figures are left out.
func (r *Reader) History(ctx context.Context, span, step time.Duration) ([]Span, error) {
	from := Start(r.now(), span, step)
	return r.store.History(ctx, from, from.Add(span+step), step)
}

// Start returns the beginning of the first step of a history.
func Start(now time.Time, span, step time.Duration) time.Time {
	return now.Truncate(step).Add(step - span)
}

// RelayUse returns the peers that relayed most in the last days, including
// today.
func (r *Reader) RelayUse(ctx context.Context, days, limit int) ([]RelayUse, error) {
	return r.store.RelayUse(ctx, RelayQuery{Since: r.sinceDay(days), Limit: limit})
}

// RelayDays returns the traffic that a peer, or for the zero ID all peers,
// relayed on each of the last days, including today. Days without traffic are
// left out.
func (r *Reader) RelayDays(ctx context.Context, days int, peer ident.PeerID) ([]RelayDay, error) {
	return r.store.RelayDays(ctx, r.sinceDay(days), peer)
}

func (r *Reader) sinceDay(days int) Day { return DayOf(r.now()) - Day(days) + 1 }
