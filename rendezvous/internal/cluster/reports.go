package cluster

import (
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// maxReports bounds the link reports that are kept of one peer.
const maxReports = 256

// reports holds the link reports of the connected peers: what each peer last
// said about its links to others. A report counts as long as the connection on
// which it came. Nothing has to be written when the connection ends, because the
// store drops reports with the presence.
type reports struct {
	// Guarded by mu.
	mu      sync.Mutex
	byPeer  map[ident.PeerID]*peerReports
	changed map[reportKey]struct{} // not in the store yet
}

// peerReports holds the reports of one peer.
type peerReports struct {
	connected time.Time // when the connection began on which they came
	byRemote  map[ident.PeerID]report
}

type report struct {
	signal.LinkReport
	since time.Time // when the link got its kind and transport
}

// reportKey identifies a link by the peer that reported it and the peer at its
// other end.
type reportKey struct{ reporter, remote ident.PeerID }

func newReports() *reports {
	return &reports{byPeer: map[ident.PeerID]*peerReports{}, changed: map[reportKey]struct{}{}}
}

// add stores a report of a peer, on its connection that began at connected. It
// reports whether there is something to write.
func (r *reports) add(id ident.PeerID, connected time.Time, m signal.LinkReport, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.byPeer[id]
	if of == nil || of.connected.Before(connected) {
		of = &peerReports{connected: connected, byRemote: map[ident.PeerID]report{}}
		r.byPeer[id] = of
	}
	before, known := of.byRemote[m.Peer]
	switch {
	case of.connected.After(connected): // a newer connection has replaced this one
		return false
	case m.Kind == signal.LinkNone:
		if !known {
			return false
		}
		delete(of.byRemote, m.Peer)
	case !known && len(of.byRemote) >= maxReports, before.LinkReport == m:
		return false
	default:
		if known && before.Kind == m.Kind && before.Transport == m.Transport {
			now = before.since // only the round-trip time differs
		}
		of.byRemote[m.Peer] = report{m, now}
	}
	r.changed[reportKey{id, m.Peer}] = struct{}{}
	return true
}

// remove drops the reports of a connection that has ended.
func (r *reports) remove(id ident.PeerID, connected time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if of := r.byPeer[id]; of != nil && !of.connected.After(connected) {
		for remote := range of.byRemote {
			delete(r.changed, reportKey{id, remote})
		}
		delete(r.byPeer, id)
	}
}

// markAll marks all reports as changed: the store may have lost them.
func (r *reports) markAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, of := range r.byPeer {
		for remote := range of.byRemote {
			r.changed[reportKey{id, remote}] = struct{}{}
		}
	}
}

// mark marks the reports of rows that could not be written.
func (r *reports) mark(rows []presence.LinkReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, row := range rows {
		r.changed[reportKey{row.From, row.To}] = struct{}{}
	}
}

// take returns the changed reports in batches, and marks them as written.
func (r *reports) take() [][]presence.LinkReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	var batches [][]presence.LinkReport
	var batch []presence.LinkReport
	for k := range r.changed {
		if batch = append(batch, r.rowLocked(k)); len(batch) == registry.MaxBatch {
			batches, batch = append(batches, batch), nil
		}
	}
	if len(batch) > 0 {
		batches = append(batches, batch)
	}
	clear(r.changed)
	return batches
}

// rowLocked returns the row to write for a link. mu must be held.
func (r *reports) rowLocked(k reportKey) presence.LinkReport {
	row := presence.LinkReport{From: k.reporter, To: k.remote}
	of := r.byPeer[k.reporter]
	if of == nil {
		return row
	}
	row.Connected = of.connected
	if last, ok := of.byRemote[k.remote]; ok {
		row.Kind, row.Transport = presence.LinkKind(last.Kind), presence.Transport(last.Transport)
		row.RTT, row.Since = last.RTT, last.since
	}
	return row
}
