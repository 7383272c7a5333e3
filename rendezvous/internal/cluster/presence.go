package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

const batchEvery = 50 * time.Millisecond

// presence is what the database has not been told yet.
type presence struct {
	wake chan struct{} // holds one

	// Guarded by mu.
	mu      sync.Mutex
	changes map[ident.PeerID]change // the newest of each peer
}

type change struct {
	since     time.Time
	connected bool
}

func newPresence() *presence {
	return &presence{wake: make(chan struct{}, 1), changes: map[ident.PeerID]change{}}
}

// Connected says that a peer is connected here.
func (k *Cluster) Connected(id ident.PeerID, since time.Time) {
	k.presence.note(id, change{since, true})
}

// Disconnected says that a peer's connection has ended.
func (k *Cluster) Disconnected(id ident.PeerID, since time.Time) {
	k.paths.forget(id, since)
	k.presence.note(id, change{since, false})
}

func (p *presence) note(id ident.PeerID, c change) {
	p.mu.Lock()
	p.changes[id] = c
	p.mu.Unlock()
	p.poke()
}

// poke has what is noted written.
func (p *presence) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// all notes every peer that is here, unless something newer is noted.
func (p *presence) all(peers map[ident.PeerID]time.Time) {
	for id, since := range peers {
		p.putBack(id, change{since, true})
	}
	p.poke()
}

// putBack notes a change again that could not be written, unless something
// newer has been noted.
func (p *presence) putBack(id ident.PeerID, c change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, newer := p.changes[id]; !newer {
		p.changes[id] = c
	}
}

// take returns up to a batch of what is to be written and removed.
func (p *presence) take() (put, remove []registry.Presence) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, c := range p.changes {
		if len(put)+len(remove) == registry.MaxBatch {
			break
		}
		delete(p.changes, id)
		row := registry.Presence{Peer: id, Since: c.since}
		if c.connected {
			put = append(put, row)
		} else {
			remove = append(remove, row)
		}
	}
	return put, remove
}

// writePresence writes changes in batches until ctx ends.
func (k *Cluster) writePresence(ctx context.Context) {
	tick := time.NewTicker(batchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.presence.wake:
		}
		select { // gather for a while
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		paths := k.paths.take() // before the presence under which they count
		for k.writeBatch(ctx) {
		}
		k.writePaths(ctx, paths)
	}
}

// writeBatch writes one batch and reports whether to go on at once. What cannot
// be written waits until the lease is renewed, which notes all peers anew.
func (k *Cluster) writeBatch(ctx context.Context) (more bool) {
	h, held := k.holder()
	if !held {
		return false
	}
	put, remove := k.presence.take()
	if len(put)+len(remove) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	errPut, errRemove := error(nil), error(nil)
	if len(put) > 0 {
		var replaced []registry.Replaced
		if replaced, errPut = k.store.PutPresence(ctx, h, k.moment(), put); errPut != nil {
			k.presence.again(put, true)
		}
		k.tellMoved(replaced)
	}
	if len(remove) > 0 {
		if errRemove = k.store.RemovePresence(ctx, h, k.moment(), remove); errRemove != nil {
			k.presence.again(remove, false)
		}
	}
	if err := errors.Join(errPut, errRemove); err != nil {
		k.log.Warn("who is connected here cannot be written; it is tried again", "reason", err)
		k.lapse(h.Epoch)
		return false
	}
	return true
}

// tellMoved tells the instances where peers were connected before that these have
// connected here. Their connections there may be dead, which only time would
// tell, and until then what is sent to them there is lost.
func (k *Cluster) tellMoved(replaced []registry.Replaced) {
	at := map[string]moved{}
	for _, r := range replaced {
		at[r.Instance] = append(at[r.Instance], r.Presence)
	}
	for instance, m := range at {
		k.spawn(func() {
			ctx, cancel := context.WithTimeout(context.Background(), dialWait)
			defer cancel()
			if l, err := k.linkTo(ctx, instance); err == nil {
				l.out.put(m.frame())
			}
		})
	}
}

func (p *presence) again(rows []registry.Presence, connected bool) {
	for _, r := range rows {
		p.putBack(r.Peer, change{r.Since, connected})
	}
}

// lapse says that the lease of an epoch may be lost: the next renewal finds out
// and writes everything anew.
func (k *Cluster) lapse(epoch int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.epoch == epoch {
		k.held = false
	}
}
