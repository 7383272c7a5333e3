package pgstore

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// RevokePeer removes a peer and keeps it from registering.
func (s *Store) RevokePeer(ctx context.Context, r registry.Revocation, version int64, e registry.Event) error {
	return s.tx(ctx, "revoke a peer", func(tx pgx.Tx) error {
		if err := lockRevocations.take(ctx, tx); err != nil {
			return err
		}
		if err := lockPeer(ctx, tx, r.Peer); err != nil {
			return err
		}
		if err := atVersion(ctx, tx, r.Peer, version); err != nil {
			return err
		}
		if err := removePeer(ctx, tx, r.Peer); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO revocations (peer, name, at) VALUES ($1, $2, $3)`, r.Peer[:], r.Name, millis(r.At)); err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}

// RemovePeer removes a peer that may come back.
func (s *Store) RemovePeer(ctx context.Context, id ident.PeerID, e registry.Event) error {
	return s.tx(ctx, "remove a peer", func(tx pgx.Tx) error {
		if err := lockPeer(ctx, tx, id); err != nil {
			return err
		}
		if err := atVersion(ctx, tx, id, 0); err != nil {
			return err
		}
		if err := removePeer(ctx, tx, id); err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}

// removePeer removes a peer and all that belongs to it.
func removePeer(ctx context.Context, tx pgx.Tx, id ident.PeerID) error {
	for _, statement := range []string{
		`DELETE FROM peers WHERE id = $1`,
		`DELETE FROM allowed WHERE owner = $1`,
		`DELETE FROM allowed WHERE peer = $1`,
		`DELETE FROM mailboxes WHERE owner = $1`,
		`DELETE FROM presence WHERE peer = $1`,
		`DELETE FROM last_seen WHERE peer = $1`,
	} {
		if _, err := tx.Exec(ctx, statement, id[:]); err != nil {
			return err
		}
	}
	return nil
}

// Readmit lets a revoked peer register again.
func (s *Store) Readmit(ctx context.Context, id ident.PeerID, e registry.Event) error {
	return s.tx(ctx, "readmit a peer", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM revocations WHERE peer = $1`, id[:])
		if err := touched(tag, err, registry.ErrPeerNotFound); err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}

// Revocations returns the revocations above a number.
func (s *Store) Revocations(ctx context.Context, since int64, limit int) ([]registry.Revocation, error) {
	const query = `SELECT seq, peer, name, at FROM revocations WHERE seq > $1 ORDER BY seq LIMIT $2`
	return collect(ctx, s, "read the revocations", func(row pgx.CollectableRow) (registry.Revocation, error) {
		var r registry.Revocation
		var peer []byte
		var at int64
		err := row.Scan(&r.Number, &peer, &r.Name, &at)
		copy(r.Peer[:], peer)
		r.At = moment(at)
		return r, err
	}, query, since, limit)
}

// Revoked reports whether a peer is revoked.
func (s *Store) Revoked(ctx context.Context, id ident.PeerID) (is bool, err error) {
	err = s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM revocations WHERE peer = $1)`, id[:]).Scan(&is)
	return is, s.failed("read a revocation", err)
}
