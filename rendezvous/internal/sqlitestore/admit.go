package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/batch"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Registrations that come at the same time are one transaction: there is one
// writer, and a commit costs more than what is written.
const (
	mostAdmitted = 256
	admitWait    = 10 * time.Second
)

// Admit registers or renews a peer.
func (s *Store) Admit(ctx context.Context, a registry.Admission) (registry.Admitted, error) {
	return s.admits.Ask(ctx, a)
}

// admit admits many. What is wrong with one is its own error, and leaves nothing
// of it behind; an error of the database is everyone's.
func (s *Store) admit(ctx context.Context, all []registry.Admission) []batch.Answer[registry.Admitted] {
	answers := make([]batch.Answer[registry.Admitted], len(all))
	err := s.tx(ctx, "admit peers", func(tx *transaction) error {
		for i, a := range all {
			if _, err := tx.ExecContext(ctx, `SAVEPOINT one`); err != nil {
				return err
			}
			admitted, err := admitOne(ctx, tx, a)
			answers[i] = batch.Answer[registry.Admitted]{Value: admitted, Err: err}
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
		return batch.Failed[registry.Admitted](len(all), err)
	}
	return answers
}

func admitOne(ctx context.Context, tx *transaction, a registry.Admission) (admitted registry.Admitted, err error) {
	res, err := tx.ExecContext(ctx, `INSERT INTO challenges (random, expires) VALUES (?, ?) ON CONFLICT DO NOTHING`,
		a.Challenge[:], millis(a.ChallengeExpires))
	if err := oneRow(res, err, registry.ErrReplayed); err != nil {
		return admitted, err
	}
	p := a.Peer
	err = tx.QueryRowContext(ctx, `UPDATE peers SET name = iif(named, name, ?1), version = version + (NOT named AND name <> ?1),
		token_prefix = ?2, token_hash = ?3 WHERE id = ?4 RETURNING name`, p.Name, p.TokenPrefix[:], p.TokenHash[:], p.ID[:]).Scan(&admitted.Name)
	if !errors.Is(err, sql.ErrNoRows) {
		return admitted, err
	}
	if err := useInvite(ctx, tx, a); err != nil {
		return admitted, err
	}
	admitted = registry.Admitted{Created: true, Name: p.Name}
	res, err = tx.ExecContext(ctx, `INSERT INTO peers (id, public_key, name, created, token_prefix, token_hash)
		SELECT ?1, ?, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM revocations WHERE peer = ?1)`,
		p.ID[:], []byte(p.PublicKey), p.Name, millis(p.Created), p.TokenPrefix[:], p.TokenHash[:])
	if err := oneRow(res, err, registry.ErrRevoked); err != nil {
		return admitted, err
	}
	return admitted, addEvents(ctx, tx, a.Event)
}

// useInvite lets a new peer in with its invite or its approval, if it needs one.
func useInvite(ctx context.Context, tx *transaction, a registry.Admission) error {
	switch {
	case a.Open:
		return nil
	case a.Invite == nil:
		res, err := tx.ExecContext(ctx, `DELETE FROM approvals WHERE peer = ? AND expires > ?`, a.Peer.ID[:], millis(a.Now))
		return oneRow(res, err, registry.ErrInviteNeeded)
	}
	res, err := tx.ExecContext(ctx, `UPDATE invites SET uses = uses - 1, used = used + 1
		WHERE hash = ? AND revoked = 0 AND expires > ? AND (uses IS NULL OR uses > 0)`, a.Invite[:], millis(a.Now))
	return oneRow(res, err, registry.ErrInvite)
}
