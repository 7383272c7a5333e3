package sqlitestore

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// AddEvents keeps events.
func (s *Store) AddEvents(ctx context.Context, events []registry.Event) error {
	if len(events) > registry.MaxBatch {
		return fmt.Errorf("keep events: %d at once, at most %d", len(events), registry.MaxBatch)
	}
	return s.tx(ctx, "keep events", func(tx *transaction) error { return addEvents(ctx, tx, events...) })
}

func addEvents(ctx context.Context, tx *transaction, events ...registry.Event) error {
	for _, e := range events {
		_, err := tx.ExecContext(ctx, `INSERT INTO audit (at, kind, actor, peer, other, source, detail, count) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			millis(e.At), string(e.Kind), e.Actor, orNull(e.Peer), orNull(e.Other), e.Source, e.Detail, e.Count)
		if err != nil {
			return err
		}
	}
	return nil
}

func orNull(id ident.PeerID) []byte {
	if id.IsZero() {
		return nil
	}
	return id[:]
}

// Events returns events, newest first.
func (s *Store) Events(ctx context.Context, q registry.EventQuery) ([]registry.Event, error) {
	query := `SELECT seq, at, kind, actor, peer, other, source, detail, count FROM audit WHERE (?1 = 0 OR seq < ?1) AND (?2 = '' OR kind = ?2)`
	if !q.Peer.IsZero() { // so that the index of the peers' events serves
		query += ` AND peer = ?3`
	}
	rows, err := s.read.QueryContext(ctx, query+` ORDER BY seq DESC LIMIT ?4`, q.Before, string(q.Kind), q.Peer[:], q.Limit)
	if err != nil {
		return nil, failed("read the audit log", err)
	}
	return collect(rows, "read the audit log", func(rows *sql.Rows) (registry.Event, error) {
		var e registry.Event
		var peer, other []byte
		var at int64
		err := rows.Scan(&e.Number, &at, &e.Kind, &e.Actor, &peer, &other, &e.Source, &e.Detail, &e.Count)
		e.At = moment(at)
		copy(e.Peer[:], peer)
		copy(e.Other[:], other)
		return e, err
	})
}

// sweepEvents removes the oldest events beyond what is kept.
func sweepEvents(ctx context.Context, tx *transaction) error {
	for which, kept := range map[string]int{`kind = 'refused'`: registry.MaxRefusals, `kind <> 'refused'`: registry.MaxEvents} {
		_, err := tx.ExecContext(ctx, `DELETE FROM audit WHERE `+which+
			` AND seq <= (SELECT seq FROM audit WHERE `+which+` ORDER BY seq DESC LIMIT 1 OFFSET ?)`, kept)
		if err != nil {
			return err
		}
	}
	return nil
}
