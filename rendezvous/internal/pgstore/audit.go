package pgstore

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
)

// AddEvents keeps events.
func (s Audit) AddEvents(ctx context.Context, events []audit.Event) error {
	const what = "keep events"
	if err := checkBatch(what, len(events)); err != nil {
		return err
	}
	return s.db.tx(ctx, what, func(tx pgx.Tx) error { return addEvents(ctx, tx, events...) })
}

const addEvent = `INSERT INTO audit (at, kind, actor, peer, other, source, detail, count)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`

func addEvents(ctx context.Context, tx pgx.Tx, events ...audit.Event) error {
	if len(events) == 0 {
		return nil
	}
	var b pgx.Batch
	for _, e := range events {
		b.Queue(addEvent, millis(e.At), string(e.Kind), e.Actor, orNull(e.Peer), orNull(e.Other), e.Source, e.Detail,
			e.Count)
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
func (s Audit) Events(ctx context.Context, q audit.Query) ([]audit.Event, error) {
	sql := `SELECT seq, at, kind, actor, peer, other, source, detail, count FROM audit
		WHERE ($1 = 0 OR seq < $1) AND ($2 = '' OR kind = $2)`
	args := []any{q.Before, string(q.Kind), q.Limit}
	if !q.Peer.IsZero() { // a condition of its own, so that the index of the peers' events is used
		sql += ` AND peer = $4`
		args = append(args, q.Peer[:])
	}
	return collect(ctx, s.db, query{"read the audit log", sql + ` ORDER BY seq DESC LIMIT $3`, args},
		func(row pgx.CollectableRow) (audit.Event, error) {
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
func sweepEvents(ctx context.Context, db *DB) error {
	for which, kept := range map[string]int64{
		`kind = 'refused'`:  audit.MaxRefusals,
		`kind <> 'refused'`: audit.MaxEvents,
	} {
		err := inChunks(ctx, db, `DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE `+which+
			` AND seq <= (SELECT seq FROM audit WHERE `+which+` ORDER BY seq DESC LIMIT 1 OFFSET $1) LIMIT $2)`, kept)
		if err != nil {
			return err
		}
	}
	return nil
}
