package registry

import (
	"context"
	"errors"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// PeerAt is a peer as administrators see it.
type PeerAt struct {
	Peer
	At   *Location // where it is connected; nil if nowhere
	Seen time.Time // when its last connection ended; zero if unknown
}

// Peers returns some of all peers, ordered by ID, with where they are connected.
// q.Limit is at most MaxBatch.
func (r *Registry) Peers(ctx context.Context, q PeerQuery) ([]PeerAt, error) {
	peers, err := r.cfg.Store.Peers(ctx, q)
	if err != nil {
		return nil, err
	}
	return r.located(ctx, peers)
}

// PeerAt returns a peer and where it is connected. Errors: ErrPeerNotFound.
func (r *Registry) PeerAt(ctx context.Context, id ident.PeerID) (PeerAt, error) {
	p, err := r.cfg.Store.Peer(ctx, id)
	if err != nil {
		return PeerAt{}, err
	}
	all, err := r.located(ctx, []Peer{p})
	if err != nil {
		return PeerAt{}, err
	}
	return all[0], nil
}

func (r *Registry) located(ctx context.Context, peers []Peer) ([]PeerAt, error) {
	ids := make([]ident.PeerID, len(peers))
	for i, p := range peers {
		ids[i] = p.ID
	}
	at, err := r.cfg.Store.LocatePeers(ctx, ids, r.cfg.Now())
	if err != nil {
		return nil, err
	}
	seen, err := r.cfg.Store.LastSeen(ctx, ids)
	if err != nil {
		return nil, err
	}
	all := make([]PeerAt, len(peers))
	for i, p := range peers {
		all[i].Peer, all[i].Seen = p, seen[p.ID]
		if l, ok := at[p.ID]; ok {
			all[i].At = &l
		}
	}
	return all, nil
}

// InstanceAt is an instance and how many peers are connected to it.
type InstanceAt struct {
	Instance
	Peers int
	Last  *Minute // its newest figures, nil if it has none of the last minutes
}

// recently is how old the figures of an instance may be that runs.
const recently = 3 * time.Minute

// Instances returns the instances that have a lease, ordered by name.
func (r *Registry) Instances(ctx context.Context) ([]InstanceAt, error) {
	list, err := r.cfg.Store.Instances(ctx, r.cfg.Now())
	if err != nil {
		return nil, err
	}
	counts, err := r.cfg.Store.CountPresence(ctx)
	if err != nil {
		return nil, err
	}
	last, err := r.cfg.Store.LastMinutes(ctx, r.cfg.Now().Add(-recently))
	if err != nil {
		return nil, err
	}
	all := make([]InstanceAt, len(list))
	for n, i := range list {
		all[n] = InstanceAt{Instance: i, Peers: counts[i.Epoch]}
		if m, ok := last[i.Name]; ok {
			all[n].Last = &m
		}
	}
	return all, nil
}

// NamePeer gives a peer a name that stays when it registers again. version is
// the one that it must have, 0 any. Errors: ErrName, ErrPeerNotFound,
// ErrChanged.
func (r *Registry) NamePeer(ctx context.Context, id ident.PeerID, name string, version int64) (PeerAt, error) {
	if err := checkName(name); err != nil {
		return PeerAt{}, err
	}
	e := r.event(ctx, EventPeerRenamed)
	e.Peer, e.Detail = id, detail(name)
	if err := r.cfg.Store.Rename(ctx, Naming{ID: id, Name: name, Version: version, By: &e}); err != nil {
		return PeerAt{}, err
	}
	return r.PeerAt(ctx, id)
}

// RevokePeer sends a peer away for good: it may neither sign in nor register,
// whom it allowed and who allowed it is forgotten, and Config.OnRevoked is
// called here at once and at the other instances within about a second.
// version is the one that the peer must have, 0 any. Twice is fine. Errors:
// ErrPeerNotFound, ErrChanged.
func (r *Registry) RevokePeer(ctx context.Context, id ident.PeerID, version int64) error {
	p, err := r.cfg.Store.Peer(ctx, id)
	if errors.Is(err, ErrPeerNotFound) {
		if revoked, err := r.cfg.Store.Revoked(ctx, id); err != nil || revoked {
			return err
		}
	}
	if err != nil {
		return err
	}
	e := r.event(ctx, EventPeerRevoked)
	e.Peer, e.Detail = id, detail(p.Name)
	if err := r.cfg.Store.RevokePeer(ctx, Revocation{Peer: id, Name: p.Name, At: e.At}, version, e); err != nil {
		return err
	}
	r.peers.Add(-1)
	if r.cfg.OnRevoked != nil {
		r.cfg.OnRevoked(id, e.At)
	}
	return nil
}

// Leave removes a peer at its own wish, and with it whom it allowed and who
// allowed it. It may register again, as a new peer. Errors: ErrPeerNotFound.
func (r *Registry) Leave(ctx context.Context, id ident.PeerID) error {
	e := r.event(ctx, EventPeerLeft)
	e.Peer = id
	if err := r.cfg.Store.RemovePeer(ctx, id, e); err != nil {
		return err
	}
	r.peers.Add(-1)
	return nil
}

// Readmit lets a revoked peer register again, as a new one. Errors:
// ErrPeerNotFound if it is not revoked.
func (r *Registry) Readmit(ctx context.Context, id ident.PeerID) error {
	e := r.event(ctx, EventPeerReadmitted)
	e.Peer = id
	return r.cfg.Store.Readmit(ctx, id, e)
}

// Revoked reports whether a peer is revoked.
func (r *Registry) Revoked(ctx context.Context, id ident.PeerID) (bool, error) {
	return r.cfg.Store.Revoked(ctx, id)
}

// Revocations returns at most limit revocations with a number above since, in
// order.
func (r *Registry) Revocations(ctx context.Context, since int64, limit int) ([]Revocation, error) {
	return r.cfg.Store.Revocations(ctx, since, limit)
}

const (
	// watchTimeout bounds one look for revocations, so that a database that
	// hangs costs no more than that.
	watchTimeout = 2 * time.Second
	// repeatLooks is for how many more looks a revocation is told again: a
	// connection that was being admitted meanwhile is found by one of them.
	repeatLooks = 8
)

// watchRevocations tells of every revocation, also those by other instances and
// those from before the start, until ctx ends.
func (r *Registry) watchRevocations(ctx context.Context) {
	tick := time.NewTicker(r.cfg.WatchEvery)
	defer tick.Stop()
	var recent [repeatLooks][]Revocation // of the last looks
	since, failing := int64(0), false
	for look := 0; ; look++ {
		news, err := r.newRevocations(ctx, since)
		if len(news) > 0 {
			since = news[len(news)-1].Number
		}
		if (err != nil) != failing && ctx.Err() == nil {
			failing = err != nil
			r.cfg.Logger.Warn("the look for revoked peers changed", "failing", failing, "err", err)
		}
		for _, told := range recent {
			r.tellRevoked(told)
		}
		r.tellRevoked(news)
		recent[look%repeatLooks] = news
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// newRevocations returns all revocations above since.
func (r *Registry) newRevocations(ctx context.Context, since int64) (all []Revocation, err error) {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	for {
		page, err := r.cfg.Store.Revocations(ctx, since, MaxBatch)
		all = append(all, page...)
		if err != nil || len(page) < MaxBatch {
			return all, err
		}
		since = page[len(page)-1].Number
	}
}

func (r *Registry) tellRevoked(list []Revocation) {
	for _, one := range list {
		r.cfg.OnRevoked(one.Peer, one.At)
	}
}
