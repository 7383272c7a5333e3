package peers

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
)

const (
	pollInterval = time.Second // between two reads of new revocations
	// pollTimeout bounds one read, so that a database that hangs delays the loop
	// by no more than that.
	pollTimeout = 2 * time.Second
	// repeatPolls is for how many further polls OnRevoked is called again: one of
	// those calls finds a connection that was being admitted at the first call.
	repeatPolls = 8
)

// RevocationStore removes peers, and keeps those that may not come back.
type RevocationStore interface {
	// RevokePeer removes a peer with its token, mailboxes and presence, and every
	// permission by or for it, and prevents its ID from registering. version is
	// the peer's expected version, 0 accepts any. Errors: ErrNotFound,
	// ErrChanged.
	RevokePeer(ctx context.Context, r Revocation, version int64, e audit.Event) error
	// RemovePeer removes the same but lets the peer register again. Errors:
	// ErrNotFound.
	RemovePeer(ctx context.Context, id ident.PeerID, e audit.Event) error
	// Readmit lets a revoked peer register again. Errors: ErrNotFound.
	Readmit(ctx context.Context, id ident.PeerID, e audit.Event) error
	// Revocations returns at most limit revocations with a number above since, in
	// order. A revocation that is committed later has a higher number.
	Revocations(ctx context.Context, since int64, limit int) ([]Revocation, error)
	// Revoked reports whether a peer is revoked.
	Revoked(ctx context.Context, id ident.PeerID) (bool, error)
}

// Revocation is a peer that an administrator has revoked.
type Revocation struct {
	Number int64 // assigned by the store, rising
	Peer   ident.PeerID
	Name   string // the peer's last name
	At     time.Time
}

// RevocationConfig configures Revocations.
type RevocationConfig struct {
	Store   RevocationStore
	Peers   PeerReader
	Counter *Counter
	Now     func() time.Time // nil: time.Now
	Logger  *slog.Logger
	// OnRevoked ends the connections at this instance of a peer that was revoked
	// at a time. It is called several times for each revocation, and must not
	// block. It may be nil.
	OnRevoked func(id ident.PeerID, at time.Time)
}

// Revocations removes peers. Its methods may be called concurrently.
type Revocations struct {
	cfg RevocationConfig // static after NewRevocations
}

// NewRevocations returns the revocations of a store. It starts nothing.
func NewRevocations(c RevocationConfig) (*Revocations, error) {
	if c.Store == nil || c.Peers == nil || c.Counter == nil || c.Logger == nil {
		return nil, errors.New("revocations: stores, a counter and a logger are needed")
	}
	if c.OnRevoked == nil {
		c.OnRevoked = func(ident.PeerID, time.Time) {}
	}
	c.Now = registry.Clock(c.Now)
	return &Revocations{c}, nil
}

// RevokePeer revokes a peer: its token ends, it cannot register again, and the
// permissions by and for it are removed. OnRevoked is called at this instance at
// once and at the others within about a second. version is the peer's expected
// version, 0 accepts any. Revoking a revoked peer is not an error. Errors:
// ErrNotFound, ErrChanged.
func (s *Revocations) RevokePeer(ctx context.Context, id ident.PeerID, version int64) error {
	p, err := s.cfg.Peers.Peer(ctx, id)
	if errors.Is(err, ErrNotFound) {
		if revoked, err := s.cfg.Store.Revoked(ctx, id); err != nil || revoked {
			return err
		}
	}
	if err != nil {
		return err
	}
	e := audit.NewEvent(ctx, s.cfg.Now(), audit.KindPeerRevoked)
	e.Peer, e.Detail = id, audit.Detail(p.Name)
	if err := s.cfg.Store.RevokePeer(ctx, Revocation{Peer: id, Name: p.Name, At: e.At}, version, e); err != nil {
		return err
	}
	s.cfg.Counter.removed()
	s.cfg.OnRevoked(id, e.At)
	return nil
}

// Leave removes a peer at its own request, with the permissions by and for it. It
// can register again as a new peer. Errors: ErrNotFound.
func (s *Revocations) Leave(ctx context.Context, id ident.PeerID) error {
	e := audit.NewEvent(ctx, s.cfg.Now(), audit.KindPeerLeft)
	e.Peer = id
	if err := s.cfg.Store.RemovePeer(ctx, id, e); err != nil {
		return err
	}
	s.cfg.Counter.removed()
	return nil
}

// Readmit lets a revoked peer register again as a new peer. Errors: ErrNotFound
// if it is not revoked.
func (s *Revocations) Readmit(ctx context.Context, id ident.PeerID) error {
	e := audit.NewEvent(ctx, s.cfg.Now(), audit.KindPeerReadmitted)
	e.Peer = id
	return s.cfg.Store.Readmit(ctx, id, e)
}

// Revoked reports whether a peer is revoked.
func (s *Revocations) Revoked(ctx context.Context, id ident.PeerID) (bool, error) {
	return s.cfg.Store.Revoked(ctx, id)
}

// Revocations returns at most limit revocations with a number above since, in
// order.
func (s *Revocations) Revocations(ctx context.Context, since int64, limit int) ([]Revocation, error) {
	return s.cfg.Store.Revocations(ctx, since, limit)
}

// Run calls OnRevoked for every revocation until ctx ends, including those of
// other instances and those before the start.
func (s *Revocations) Run(ctx context.Context) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	var recent [repeatPolls][]Revocation // of the last polls
	since, failing := int64(0), false
	for poll := 0; ; poll++ {
		fresh, err := s.poll(ctx, since)
		if len(fresh) > 0 {
			since = fresh[len(fresh)-1].Number
		}
		if (err != nil) != failing && ctx.Err() == nil {
			failing = err != nil
			s.logPolling(err)
		}
		for _, list := range recent {
			s.apply(list)
		}
		s.apply(fresh)
		recent[poll%repeatPolls] = fresh
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// logPolling logs the first failure of a series, and its end.
func (s *Revocations) logPolling(err error) {
	if err != nil {
		s.cfg.Logger.Warn("cannot read new revocations", "err", err, "retry_in", pollInterval)
		return
	}
	s.cfg.Logger.Warn("new revocations can be read again")
}

// poll returns all revocations with a number above since.
func (s *Revocations) poll(ctx context.Context, since int64) (all []Revocation, err error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	for {
		page, err := s.cfg.Store.Revocations(ctx, since, registry.MaxBatch)
		all = append(all, page...)
		if err != nil || len(page) < registry.MaxBatch {
			return all, err
		}
		since = page[len(page)-1].Number
	}
}

func (s *Revocations) apply(list []Revocation) {
	for _, r := range list {
		s.cfg.OnRevoked(r.Peer, r.At)
	}
}
