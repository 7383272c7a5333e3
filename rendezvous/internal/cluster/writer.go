package cluster

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

const batchInterval = 50 * time.Millisecond

// writer writes presence and link reports to the store in batches.
type writer struct {
	name          string // of this instance
	presenceStore PresenceStore
	reportStore   ReportStore
	changes       *changes
	reports       *reports
	clock         *storeClock
	lease         *lease
	members       *members
	tasks         *tasks
	log           *slog.Logger
}

// run writes changes until ctx ends.
func (w *writer) run(ctx context.Context) {
	tick := time.NewTicker(batchInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.changes.wake:
		}
		select { // collect more changes
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// Taken before the presence is written: a report counts only once the
		// connection on which it came is in the store.
		reports := w.reports.take()
		for w.writePresence(ctx) {
		}
		w.writeReports(ctx, reports)
	}
}

// writePresence writes one batch and reports whether there may be more. After an
// error the changes wait until the lease is renewed, which adds all peers again.
func (w *writer) writePresence(ctx context.Context) (more bool) {
	h, held := w.lease.holder()
	if !held {
		return false
	}
	put, remove := w.changes.take()
	if len(put)+len(remove) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	var putErr, removeErr error
	if len(put) > 0 {
		var replaced []presence.Replacement
		if replaced, putErr = w.presenceStore.PutPresence(ctx, h, w.clock.now(), put); putErr != nil {
			w.changes.putBackRows(put, true)
		}
		w.notifyMoved(replaced)
	}
	if len(remove) > 0 {
		if removeErr = w.presenceStore.RemovePresence(ctx, h, w.clock.now(), remove); removeErr != nil {
			w.changes.putBackRows(remove, false)
		}
	}
	if err := errors.Join(putErr, removeErr); err != nil {
		w.log.Warn("cannot write which peers are connected here; trying again", "err", err)
		w.lease.lost(h.Epoch)
		return false
	}
	return true
}

// notifyMoved notifies the instances that have older connections of peers that
// have connected here. An older connection may be dead, and messages sent to it
// are lost until it times out.
func (w *writer) notifyMoved(replaced []presence.Replacement) {
	byInstance := map[string]moves{}
	for _, r := range replaced {
		byInstance[r.Instance] = append(byInstance[r.Instance], r.Connection)
	}
	for instance, m := range byInstance {
		w.tasks.start(func() {
			ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
			defer cancel()
			if l, err := w.members.link(ctx, instance); err == nil {
				l.out.put(m.frame())
			}
		})
	}
}

// writeReports writes batches of link reports. Reports that cannot be
// written are tried again with the next change, or with the next lease.
func (w *writer) writeReports(ctx context.Context, batches [][]presence.LinkReport) {
	for _, batch := range batches {
		h, held := w.lease.holder()
		if !held {
			w.reports.mark(batch)
			continue
		}
		limited, cancel := context.WithTimeout(ctx, storeTimeout)
		err := w.reportStore.PutLinkReports(limited, h, w.clock.now(), batch)
		cancel()
		if err != nil {
			w.reports.mark(batch)
			w.log.Warn("cannot write link reports; trying again", "err", err)
			w.lease.lost(h.Epoch)
		}
	}
}

// restore writes all presence and link reports again, under a new lease.
func (w *writer) restore(ctx context.Context, local Local) error {
	w.reports.markAll()
	w.changes.addAll(local.Peers())
	return w.endMoved(ctx, local)
}

// endMoved ends the sessions of peers that have connected to another instance
// while this instance was without a lease.
func (w *writer) endMoved(ctx context.Context, local Local) error {
	ids := make([]ident.PeerID, 0, registry.MaxBatch)
	locate := func() error {
		locations, err := w.presenceStore.LocatePeers(ctx, ids, w.clock.now())
		for id, l := range locations {
			if l.Instance != w.name {
				local.Moved(id, l.Since)
			}
		}
		ids = ids[:0]
		return err
	}
	for id := range local.Peers() {
		if ids = append(ids, id); len(ids) == registry.MaxBatch {
			if err := locate(); err != nil {
				return err
			}
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return locate()
}
