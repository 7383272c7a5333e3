package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// maxPaths bounds the links of one peer that are remembered.
const maxPaths = 256

// paths is what connected peers have said of their links. What they said on a
// connection counts no longer than that does, so that nothing is written when a
// connection ends.
type paths struct {
	// Guarded by mu.
	mu      sync.Mutex
	said    map[ident.PeerID]*saidPaths
	changes map[ends]struct{} // that the database has not been told yet
}

// saidPaths is what one peer has said on its connection.
type saidPaths struct {
	session time.Time // since when the connection stands
	links   map[ident.PeerID]saidPath
}

type saidPath struct {
	signal.Path
	since time.Time
}

// ends are who said it and whom its link leads to.
type ends struct{ from, to ident.PeerID }

func newPaths() *paths {
	return &paths{said: map[ident.PeerID]*saidPaths{}, changes: map[ends]struct{}{}}
}

// Path notes what a peer says of a link, on its connection that stands since
// session.
func (k *Cluster) Path(id ident.PeerID, session time.Time, m signal.Path) {
	if k.paths.note(id, session, m, k.moment().Truncate(time.Millisecond)) {
		k.presence.poke()
	}
}

// note reports whether there is something new to write.
func (p *paths) note(id ident.PeerID, session time.Time, m signal.Path, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	by := p.said[id]
	if by == nil || by.session.Before(session) {
		by = &saidPaths{session: session, links: map[ident.PeerID]saidPath{}}
		p.said[id] = by
	}
	before, known := by.links[m.Peer]
	switch {
	case by.session.After(session): // the connection was replaced meanwhile
		return false
	case m.Kind == signal.PathNone:
		if !known {
			return false
		}
		delete(by.links, m.Peer)
	case !known && len(by.links) >= maxPaths, before.Path == m:
		return false
	default:
		if known && before.Kind == m.Kind && before.Transport == m.Transport {
			now = before.since // only the round trip differs
		}
		by.links[m.Peer] = saidPath{m, now}
	}
	p.changes[ends{id, m.Peer}] = struct{}{}
	return true
}

// forget drops what a peer has said on a connection that has ended.
func (p *paths) forget(id ident.PeerID, session time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if by := p.said[id]; by != nil && !by.session.After(session) {
		for other := range by.links {
			delete(p.changes, ends{id, other})
		}
		delete(p.said, id)
	}
}

// all notes everything that counts, for a database that may have lost it.
func (p *paths) all() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, by := range p.said {
		for other := range by.links {
			p.changes[ends{id, other}] = struct{}{}
		}
	}
}

// take returns what is to be written, in batches.
func (p *paths) take() [][]registry.Path {
	p.mu.Lock()
	defer p.mu.Unlock()
	var batches [][]registry.Path
	var batch []registry.Path
	for e := range p.changes {
		row := registry.Path{From: e.from, To: e.to}
		if by := p.said[e.from]; by != nil {
			row.Session = by.session
			if said, ok := by.links[e.to]; ok {
				row.Kind, row.Transport, row.RTT, row.Since = registry.PathKind(said.Kind), registry.Transport(said.Transport), said.RTT, said.since
			}
		}
		if batch = append(batch, row); len(batch) == registry.MaxBatch {
			batches, batch = append(batches, batch), nil
		}
	}
	if len(batch) > 0 {
		batches = append(batches, batch)
	}
	clear(p.changes)
	return batches
}

// again notes rows that could not be written.
func (p *paths) again(rows []registry.Path) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range rows {
		p.changes[ends{r.From, r.To}] = struct{}{}
	}
}

// writePaths writes batches. What cannot be written is tried again with the next
// change of presence or of a link, at the latest with a new lease.
func (k *Cluster) writePaths(ctx context.Context, batches [][]registry.Path) {
	for _, batch := range batches {
		h, held := k.holder()
		if !held {
			k.paths.again(batch)
			continue
		}
		limited, cancel := context.WithTimeout(ctx, storeWait)
		err := k.store.PutPaths(limited, h, k.moment(), batch)
		cancel()
		if err != nil {
			k.paths.again(batch)
			k.log.Warn("what links are like cannot be written; it is tried again", "reason", err)
			k.lapse(h.Epoch)
		}
	}
}
