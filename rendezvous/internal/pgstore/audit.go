package pgstore

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// AddEvents keeps events.
func (s *Store) AddEvents(ctx context.Context, events []registry.Event) error {
	if len(events) > registry.MaxBatch {
		return fmt.Errorf("keep events: %d at once, at most %d", len(events), registry.MaxBatch)
	}
	return s.tx(ctx, "keep events", func(tx pgx.Tx) error { return addEvents(ctx, tx, events...) })
}

const addEvent = `INSERT INTO audit (at, kind, actor, peer, other, source, detail, count) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`

func addEvents(ctx context.Context, tx pgx.Tx, events ...registry.Event) error {
	if len(events) == 0 {
		return nil
	}
	var b pgx.Batch
	for _, e := range events {
		b.Queue(addEvent, millis(e.At), string(e.Kind), e.Actor, orNull(e.Peer), orNull(e.Other), e.Source, e.Detail, e.Count)
	}
	return tx.SendBatch(ctx, &b).Close()
}

func orNull(id ident.PeerID) []byte {
	if id.IsZero() {
		return nil
	}
	return id[:]
}

// Events returns events, newest first.
func (s *Store) Events(ctx context.Context, q registry.EventQuery) ([]registry.Event, error) {
	query := `SELECT seq, at, kind, actor, peer, other, source, detail, count FROM audit WHERE ($1 = 0 OR seq < $1) AND ($2 = '' OR kind = $2)`
	args := []any{q.Before, string(q.Kind), q.Limit}
	if !q.Peer.IsZero() { // so that the index of the peers' events serves
		query += ` AND peer = $4`
		args = append(args, q.Peer[:])
	}
	return collect(ctx, s, "read the audit log", func(row pgx.CollectableRow) (registry.Event, error) {
		var e registry.Event
		var kind string
		var peer, other []byte
		var at int64
		err := row.Scan(&e.Number, &at, &kind, &e.Actor, &peer, &other, &e.Source, &e.Detail, &e.Count)
		e.At, e.Kind = moment(at), registry.EventKind(kind)
		copy(e.Peer[:], peer)
		copy(e.Other[:], other)
		return e, err
	}, query+` ORDER BY seq DESC LIMIT $3`, args...)
}

// sweepEvents removes the oldest events beyond what is kept.
func (s *Store) sweepEvents(ctx context.Context) error {
	for which, kept := range map[string]int64{`kind = 'refused'`: registry.MaxRefusals, `kind <> 'refused'`: registry.MaxEvents} {
		err := s.inChunks(ctx, `DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE `+which+
			` AND seq <= (SELECT seq FROM audit WHERE `+which+` ORDER BY seq DESC LIMIT 1 OFFSET $1) LIMIT $2)`, kept)
		if err != nil {
			return err
		}
	}
	return nil
}
