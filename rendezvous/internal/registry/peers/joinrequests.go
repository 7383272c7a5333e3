package peers

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
)

// JoinRequestTTL is the time that a join request is kept after the peer's last
// try.
const JoinRequestTTL = 24 * time.Hour

// Requests are collected in memory and written once per interval, at most one
// for each source and at most maxPendingJoins in total, so that a flood of
// registrations cannot overload the database.
const (
	joinInterval      = time.Minute
	maxPendingJoins   = 64
	maxJoinRequests   = 500 // kept by the store
	maxListedRequests = 50
	joinStoreTimeout  = 2 * time.Second
)

// JoinStore keeps join requests.
type JoinStore interface {
	// PutJoinRequests keeps requests, at most registry.MaxBatch, each in place of
	// an earlier one of the same peer, and removes the oldest beyond max.
	PutJoinRequests(ctx context.Context, requests []JoinRequest, max int) error
	// JoinRequests returns the requests of peers that are neither registered nor
	// approved at now, with a time after now-JoinRequestTTL, newest first.
	JoinRequests(ctx context.Context, now time.Time, limit int) ([]JoinRequest, error)
}

// JoinRequest is a try to register of a peer that had no invite. The peer has
// proved its key.
type JoinRequest struct {
	Peer   ident.PeerID
	Source string    // as in audit.Event
	At     time.Time // of the peer's last try
}

// JoinRequests collects the peers that tried to register without an invite, for
// administrators to approve. Its methods may be called concurrently.
type JoinRequests struct {
	store JoinStore
	now   func() time.Time
	log   *slog.Logger

	// Guarded by mu.
	mu      sync.Mutex
	pending map[string]JoinRequest // by source, not written yet
}

// NewJoinRequests returns the join requests of a store. It starts nothing. A nil
// now is time.Now.
func NewJoinRequests(store JoinStore, now func() time.Time, log *slog.Logger) (*JoinRequests, error) {
	if store == nil || log == nil {
		return nil, errors.New("join requests: a store and a logger are needed")
	}
	return &JoinRequests{store: store, now: registry.Clock(now), log: log, pending: map[string]JoinRequest{}}, nil
}

// JoinRequests returns the requests of the last day of peers that are neither
// registered nor approved, newest first. It misses requests that Run has not
// written yet. Of the peers that tried from one source within a minute it knows
// only one.
func (s *JoinRequests) JoinRequests(ctx context.Context) ([]JoinRequest, error) {
	return s.store.JoinRequests(ctx, s.now(), maxListedRequests)
}

// note collects a request of the origin of ctx.
func (s *JoinRequests) note(ctx context.Context, id ident.PeerID) {
	e := audit.NewEvent(ctx, s.now(), audit.KindRefused)
	s.mu.Lock()
	defer s.mu.Unlock()
	before, known := s.pending[e.Source]
	if known && before.Peer != id || !known && len(s.pending) >= maxPendingJoins {
		return
	}
	s.pending[e.Source] = JoinRequest{Peer: id, Source: e.Source, At: e.At}
}

// Run writes the collected requests once a minute until ctx ends, and then the
// rest.
func (s *JoinRequests) Run(ctx context.Context) error {
	tick := time.NewTicker(joinInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.write(ctx)
			return nil
		case <-tick.C:
			s.write(ctx)
		}
	}
}

func (s *JoinRequests) write(ctx context.Context) {
	requests := s.take()
	if len(requests) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), joinStoreTimeout)
	defer cancel()
	if err := s.store.PutJoinRequests(ctx, requests, maxJoinRequests); err != nil {
		s.log.Warn("cannot write join requests", "count", len(requests), "err", err)
	}
}

// take returns the pending requests and removes them.
func (s *JoinRequests) take() []JoinRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := make([]JoinRequest, 0, len(s.pending))
	for _, r := range s.pending {
		requests = append(requests, r)
	}
	clear(s.pending)
	return requests
}
