package sqlitestore

import (
	"context"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// RevokePeer removes a peer and prevents it from registering.
func (s Revocations) RevokePeer(ctx context.Context, r peers.Revocation, version int64, e audit.Event) error {
	return s.db.tx(ctx, "revoke a peer", func(tx *transaction) error {
		if err := removePeer(ctx, tx, r.Peer, version); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO revocations (peer, name, at) VALUES (?1, ?2, ?3)`,
			r.Peer[:], r.Name, millis(r.At))
		if err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}

// RemovePeer removes a peer that may come back.
func (s Revocations) RemovePeer(ctx context.Context, id ident.PeerID, e audit.Event) error {
	return s.db.tx(ctx, "remove a peer", func(tx *transaction) error {
		if err := removePeer(ctx, tx, id, 0); err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}

// removePeer removes a peer at a version and all that belongs to it.
func removePeer(ctx context.Context, tx *transaction, id ident.PeerID, version int64) error {
	if err := checkVersion(ctx, tx, id, version); err != nil {
		return err
	}
	for _, sql := range []string{
		`DELETE FROM peers WHERE id = ?1`,
		`DELETE FROM allowed WHERE owner = ?1`,
		`DELETE FROM allowed WHERE peer = ?1`,
		`DELETE FROM mailboxes WHERE owner = ?1`,
		`DELETE FROM presence WHERE peer = ?1`,
		`DELETE FROM last_seen WHERE peer = ?1`,
	} {
		if _, err := tx.ExecContext(ctx, sql, id[:]); err != nil {
			return err
		}
	}
	return nil
}

// Readmit lets a revoked peer register again.
func (s Revocations) Readmit(ctx context.Context, id ident.PeerID, e audit.Event) error {
	return s.db.tx(ctx, "readmit a peer", func(tx *transaction) error {
		res, err := tx.ExecContext(ctx, `DELETE FROM revocations WHERE peer = ?1`, id[:])
		if err := touched(res, err, peers.ErrNotFound); err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}

// Revocations returns the revocations above a number.
func (s Revocations) Revocations(ctx context.Context, since int64, limit int) ([]peers.Revocation, error) {
	return collect(ctx, s.db, query{
		"read the revocations", `SELECT seq, peer, name, at FROM revocations WHERE seq > ?1 ORDER BY seq LIMIT ?2`,
		[]any{since, limit},
	}, func(row scanner) (peers.Revocation, error) {
		var r peers.Revocation
		var peer []byte
		var at int64
		err := row.Scan(&r.Number, &peer, &r.Name, &at)
		copy(r.Peer[:], peer)
		r.At = moment(at)
		return r, err
	})
}

// Revoked reports whether a peer is revoked.
func (s Revocations) Revoked(ctx context.Context, id ident.PeerID) (revoked bool, err error) {
	err = s.db.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM revocations WHERE peer = ?1)`,
		id[:]).Scan(&revoked)
	return revoked, failed("read a revocation", err)
}
