package sqlitestore

import (
	"context"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
)

// AddEvents keeps events.
func (s Audit) AddEvents(ctx context.Context, events []audit.Event) error {
	const what = "keep events"
	if err := checkBatch(what, len(events)); err != nil {
		return err
	}
	return s.db.tx(ctx, what, func(tx *transaction) error { return addEvents(ctx, tx, events...) })
}

func addEvents(ctx context.Context, tx *transaction, events ...audit.Event) error {
	for _, e := range events {
		_, err := tx.ExecContext(ctx, `INSERT INTO audit (at, kind, actor, peer, other, source, detail, count)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
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
func (s Audit) Events(ctx context.Context, q audit.Query) ([]audit.Event, error) {
	sql := `SELECT seq, at, kind, actor, peer, other, source, detail, count FROM audit
		WHERE (?1 = 0 OR seq < ?1) AND (?2 = '' OR kind = ?2)`
	args := []any{q.Before, string(q.Kind), q.Limit}
	if !q.Peer.IsZero() { // a condition of its own, so that the index of the peers' events is used
		sql += ` AND peer = ?4`
		args = append(args, q.Peer[:])
	}
	return collect(ctx, s.db, query{"read the audit log", sql + ` ORDER BY seq DESC LIMIT ?3`, args},
		func(row scanner) (audit.Event, error) {
			var e audit.Event
			var kind string
			var peer, other []byte
			var at int64
			err := row.Scan(&e.Number, &at, &kind, &e.Actor, &peer, &other, &e.Source, &e.Detail, &e.Count)
			e.At, e.Kind = moment(at), audit.Kind(kind)
			copy(e.Peer[:], peer)
			copy(e.Other[:], other)
			return e, err
		})
}

// sweepEvents removes the oldest events beyond the bounds of the log.
func sweepEvents(ctx context.Context, tx *transaction) error {
	for which, kept := range map[string]int{
		`kind = 'refused'`:  audit.MaxRefusals,
		`kind <> 'refused'`: audit.MaxEvents,
	} {
		_, err := tx.ExecContext(ctx, `DELETE FROM audit WHERE `+which+
			` AND seq <= (SELECT seq FROM audit WHERE `+which+` ORDER BY seq DESC LIMIT 1 OFFSET ?)`, kept)
		if err != nil {
			return err
		}
	}
	return nil
}
