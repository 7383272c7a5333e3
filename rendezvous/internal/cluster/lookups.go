package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Bounds of looking up where peers are. One question for 100 peers costs the
// database as much as five for one each.
const (
	gatherFor   = 5 * time.Millisecond
	maxQuestion = 4 // questions under way at a time
)

// lookups gathers what is to be looked up into few questions to the store.
type lookups struct {
	// Static after newLookups.
	ask   func([]ident.PeerID) (map[ident.PeerID]registry.Location, error) // at most registry.MaxBatch
	spawn func(func()) bool
	slots chan struct{} // a place for each question under way

	// Guarded by mu.
	mu        sync.Mutex
	waiting   map[ident.PeerID][]chan<- found
	gathering bool
}

// found is the answer to a lookup.
type found struct {
	at     registry.Location
	online bool
	err    error
}

func newLookups(ask func([]ident.PeerID) (map[ident.PeerID]registry.Location, error), spawn func(func()) bool) *lookups {
	return &lookups{ask: ask, spawn: spawn, slots: make(chan struct{}, maxQuestion), waiting: map[ident.PeerID][]chan<- found{}}
}

// find returns where a peer is connected, by a question that is asked after the
// call.
func (l *lookups) find(ctx context.Context, id ident.PeerID) (at registry.Location, online bool, err error) {
	answer := make(chan found, 1)
	l.mu.Lock()
	l.waiting[id] = append(l.waiting[id], answer)
	begin := !l.gathering
	l.gathering = true
	l.mu.Unlock()
	if begin && !l.spawn(l.gather) {
		l.finish(l.take(), nil, context.Canceled)
	}
	select {
	case a := <-answer:
		return a.at, a.online, a.err
	case <-ctx.Done():
		return at, false, ctx.Err()
	}
}

// gather waits for a while and for a place, and asks for all who wait by then.
func (l *lookups) gather() {
	time.Sleep(gatherFor)
	l.slots <- struct{}{}
	defer func() { <-l.slots }()
	waiting := l.take()
	ids := make([]ident.PeerID, 0, len(waiting))
	for id := range waiting {
		ids = append(ids, id)
	}
	for len(ids) > 0 {
		n := min(len(ids), registry.MaxBatch)
		at, err := l.ask(ids[:n])
		part := map[ident.PeerID][]chan<- found{}
		for _, id := range ids[:n] {
			part[id] = waiting[id]
		}
		l.finish(part, at, err)
		ids = ids[n:]
	}
}

// take returns who waits; who comes next is gathered anew.
func (l *lookups) take() map[ident.PeerID][]chan<- found {
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting := l.waiting
	l.waiting, l.gathering = map[ident.PeerID][]chan<- found{}, false
	return waiting
}

func (l *lookups) finish(waiting map[ident.PeerID][]chan<- found, at map[ident.PeerID]registry.Location, err error) {
	for id, all := range waiting {
		where, online := at[id]
		for _, answer := range all {
			answer <- found{where, online, err}
		}
	}
}

// locateAll asks the store, and who the instances are that it names, where these
// are not known yet.
func (k *Cluster) locateAll(ids []ident.PeerID) (map[ident.PeerID]registry.Location, error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeWait)
	defer cancel()
	at, err := k.store.LocatePeers(ctx, ids, k.moment())
	if err != nil {
		return nil, err
	}
	for _, l := range at {
		if l.Instance != k.name && !k.isMember(l.Instance, l.Epoch) {
			return at, k.readMembers(ctx)
		}
	}
	return at, nil
}

// readMembers asks who has a lease.
func (k *Cluster) readMembers(ctx context.Context) error {
	list, err := k.store.Instances(ctx, k.moment())
	if err == nil {
		k.setMembers(list)
	}
	return err
}

// isMember reports whether an instance has a lease, of this epoch or a later one.
func (k *Cluster) isMember(name string, epoch int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	i, there := k.members[name]
	return there && epoch != 0 && epoch <= i.Epoch
}
