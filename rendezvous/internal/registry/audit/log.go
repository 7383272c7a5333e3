package audit

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Refusals with the same detail and source are one event per interval. Beyond
// maxSources different events the rest are counted together, without source and
// peer.
const (
	refusalInterval = time.Minute
	maxSources      = 64
	storeTimeout    = 2 * time.Second
)

// Config configures a Log.
type Config struct {
	Store  Store
	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger
	// OnRefused is called for each refusal with the request and the reason. The
	// values of both come from small fixed sets. It must not block. It may be nil.
	OnRefused func(request, reason string)
}

// Log reads the audit log and counts refusals. Its methods may be called
// concurrently.
type Log struct {
	cfg Config // static after NewLog

	refused atomic.Int64 // since the start

	// Guarded by mu.
	mu      sync.Mutex
	pending map[refusal]Event
}

// refusal identifies refusals that are counted in one event.
type refusal struct{ detail, source string }

// NewLog returns a log. It starts nothing.
func NewLog(c Config) (*Log, error) {
	if c.Store == nil || c.Logger == nil {
		return nil, errors.New("audit log: a store and a logger are needed")
	}
	if c.OnRefused == nil {
		c.OnRefused = func(string, string) {}
	}
	c.Now = registry.Clock(c.Now)
	return &Log{cfg: c, pending: map[refusal]Event{}}, nil
}

// Events returns part of the audit log, newest first.
func (l *Log) Events(ctx context.Context, q Query) ([]Event, error) {
	return l.cfg.Store.Events(ctx, q)
}

// Refused counts a refused request of the origin of ctx. It ignores an err that
// is not a refusal, see registry.Error. request names the request, such as
// "register". peer is the peer that the request concerns, zero if none.
func (l *Log) Refused(ctx context.Context, request string, peer ident.PeerID, err error) {
	var e *registry.Error
	if !errors.As(err, &e) || e.Refusal == "" {
		return
	}
	l.cfg.OnRefused(request, e.Refusal)
	l.refused.Add(1)
	event := NewEvent(ctx, l.cfg.Now(), KindRefused)
	event.Peer, event.Detail = peer, Detail(request+":", e.Text)
	l.count(event)
}

// Refusals returns the number of refusals since the start.
func (l *Log) Refusals() int64 { return l.refused.Load() }

func (l *Log) count(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := refusal{e.Detail, e.Source}
	if _, known := l.pending[key]; !known && len(l.pending) >= maxSources {
		key.source, e.Source, e.Peer = "", "", ident.PeerID{}
	}
	if before, known := l.pending[key]; known {
		before.Count++
		e = before
	}
	l.pending[key] = e
}

// take returns the pending events and removes them.
func (l *Log) take() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	events := make([]Event, 0, len(l.pending))
	for _, e := range l.pending {
		events = append(events, e)
	}
	clear(l.pending)
	return events
}

// Run writes the counted refusals once a minute until ctx ends, and then the
// rest.
func (l *Log) Run(ctx context.Context) error {
	tick := time.NewTicker(refusalInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			l.write(context.WithoutCancel(ctx))
			return nil
		case <-tick.C:
			l.write(ctx)
		}
	}
}

func (l *Log) write(ctx context.Context) {
	events := l.take()
	if len(events) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if err := l.cfg.Store.AddEvents(ctx, events); err != nil {
		l.cfg.Logger.Warn("cannot write refusals to the audit log", "count", len(events), "err", err)
	}
}
