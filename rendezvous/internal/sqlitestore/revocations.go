package sqlitestore

import (
	"context"
	"database/sql"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// RevokePeer removes a peer and keeps it from registering.
func (s *Store) RevokePeer(ctx context.Context, r registry.Revocation, version int64, e registry.Event) error {
	return s.tx(ctx, "revoke a peer", func(tx *transaction) error {
		if err := atVersion(ctx, tx, r.Peer, version); err != nil {
			return err
		}
		if err := removePeer(ctx, tx, r.Peer); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO revocations (peer, name, at) VALUES (?, ?, ?)`, r.Peer[:], r.Name, millis(r.At)); err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}

// RemovePeer removes a peer that may come back.
func (s *Store) RemovePeer(ctx context.Context, id ident.PeerID, e registry.Event) error {
	return s.tx(ctx, "remove a peer", func(tx *transaction) error {
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
func removePeer(ctx context.Context, tx *transaction, id ident.PeerID) error {
	for _, statement := range []string{
		`DELETE FROM peers WHERE id = ?`,
		`DELETE FROM allowed WHERE owner = ?`,
		`DELETE FROM allowed WHERE peer = ?`,
		`DELETE FROM mailboxes WHERE owner = ?`,
		`DELETE FROM presence WHERE peer = ?`,
		`DELETE FROM last_seen WHERE peer = ?`,
	} {
		if _, err := tx.ExecContext(ctx, statement, id[:]); err != nil {
			return err
		}
	}
	return nil
}

// Readmit lets a revoked peer register again.
func (s *Store) Readmit(ctx context.Context, id ident.PeerID, e registry.Event) error {
	return s.tx(ctx, "readmit a peer", func(tx *transaction) error {
		res, err := tx.ExecContext(ctx, `DELETE FROM revocations WHERE peer = ?`, id[:])
		if err := oneRow(res, err, registry.ErrPeerNotFound); err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}

// Revocations returns the revocations above a number.
func (s *Store) Revocations(ctx context.Context, since int64, limit int) ([]registry.Revocation, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT seq, peer, name, at FROM revocations WHERE seq > ? ORDER BY seq LIMIT ?`, since, limit)
	if err != nil {
		return nil, failed("read the revocations", err)
	}
	return collect(rows, "read the revocations", func(rows *sql.Rows) (registry.Revocation, error) {
		var r registry.Revocation
		var peer []byte
		var at int64
		err := rows.Scan(&r.Number, &peer, &r.Name, &at)
		copy(r.Peer[:], peer)
		r.At = moment(at)
		return r, err
	})
}

// Revoked reports whether a peer is revoked.
func (s *Store) Revoked(ctx context.Context, id ident.PeerID) (is bool, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM revocations WHERE peer = ?)`, id[:]).Scan(&is)
	return is, failed("read a revocation", err)
}
