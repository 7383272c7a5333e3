package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/batch"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// Concurrent registrations are one transaction: there is one writer, and a commit
// costs more than the statements.
const (
	maxAdmissions = 256
	admitTimeout  = 10 * time.Second
)

// Admit registers or renews a peer.
func (s Peers) Admit(ctx context.Context, a peers.Admission) (peers.AdmissionResult, error) {
	return s.db.admits.Call(ctx, a)
}

// admit executes a batch of admissions. An error of one admission leaves nothing
// of it in the database; an error of the database fails all.
func (s Peers) admit(ctx context.Context, all []peers.Admission) []batch.Result[peers.AdmissionResult] {
	results := make([]batch.Result[peers.AdmissionResult], len(all))
	err := s.db.tx(ctx, "admit peers", func(tx *transaction) error {
		for i, a := range all {
			if _, err := tx.ExecContext(ctx, `SAVEPOINT one`); err != nil {
				return err
			}
			admitted, err := admitOne(ctx, tx, a)
			results[i] = batch.Result[peers.AdmissionResult]{Value: admitted, Err: err}
			end := `RELEASE one`
			if err != nil {
				if !registry.Expected(err) {
					return err
				}
				end = `ROLLBACK TO one; RELEASE one`
			}
			if _, err := tx.ExecContext(ctx, end); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return batch.Failed[peers.AdmissionResult](len(all), err)
	}
	return results
}

func admitOne(ctx context.Context, tx *transaction, a peers.Admission) (admitted peers.AdmissionResult, err error) {
	p := a.Peer
	var revoked bool
	err = tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM revocations WHERE peer = ?)`, p.ID[:]).Scan(&revoked)
	if err == nil && revoked {
		err = peers.ErrRevoked
	}
	if err != nil {
		return admitted, err
	}
	res, err := tx.ExecContext(ctx, `INSERT INTO challenges (random, expires) VALUES (?, ?) ON CONFLICT DO NOTHING`,
		a.Challenge[:], millis(a.ChallengeExpires))
	if err := touched(res, err, peers.ErrReplayed); err != nil {
		return admitted, err
	}
	err = tx.QueryRowContext(ctx, `UPDATE peers SET name = iif(named, name, ?1),
			version = version + (NOT named AND name <> ?1), token_prefix = ?2, token_hash = ?3
		WHERE id = ?4 RETURNING name`,
		p.Name, p.TokenPrefix[:], p.TokenHash[:], p.ID[:]).Scan(&admitted.Name)
	if !errors.Is(err, sql.ErrNoRows) {
		return admitted, err
	}
	if err := useInvite(ctx, tx, a); err != nil {
		return admitted, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO peers (id, public_key, name, created, token_prefix, token_hash)
		VALUES (?, ?, ?, ?, ?, ?)`,
		p.ID[:], []byte(p.PublicKey), p.Name, millis(p.Created), p.TokenPrefix[:], p.TokenHash[:])
	if err != nil {
		return admitted, err
	}
	return peers.AdmissionResult{Created: true, Name: p.Name}, addEvents(ctx, tx, a.Event)
}

// useInvite uses up the invite or the approval of a new peer, if it needs one.
func useInvite(ctx context.Context, tx *transaction, a peers.Admission) error {
	switch {
	case a.Open:
		return nil
	case a.Invite == nil:
		res, err := tx.ExecContext(ctx, `DELETE FROM approvals WHERE peer = ? AND expires > ?`,
			a.Peer.ID[:], millis(a.Now))
		return touched(res, err, peers.ErrInviteNeeded)
	}
	res, err := tx.ExecContext(ctx, `UPDATE invites SET uses = uses - 1, used = used + 1
		WHERE hash = ? AND revoked = 0 AND expires > ? AND (uses IS NULL OR uses > 0)`, a.Invite[:], millis(a.Now))
	return touched(res, err, peers.ErrInvite)
}
