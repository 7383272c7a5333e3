package pgstore

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// CreateMailbox keeps a new mailbox.
func (s *Store) CreateMailbox(ctx context.Context, m registry.Mailbox, limit registry.MailboxLimit) error {
	return s.tx(ctx, "open a mailbox", func(tx pgx.Tx) error {
		if err := lockPeer(ctx, tx, m.Owner); err != nil {
			return err
		}
		var open, kept int
		err := tx.QueryRow(ctx, `SELECT count(*) FILTER (WHERE NOT closed AND expires > $1), count(*) FROM mailboxes WHERE owner = $2`,
			millis(m.Created), m.Owner[:]).Scan(&open, &kept)
		if err != nil {
			return err
		}
		if open >= limit.Open || kept >= limit.Kept {
			return registry.ErrMailboxLimit
		}
		tag, err := tx.Exec(ctx, `INSERT INTO mailboxes (address, owner, created, expires, closed) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
			string(m.Address), m.Owner[:], millis(m.Created), millis(m.Expires), m.Closed)
		return touched(tag, err, registry.ErrMailboxExists)
	})
}

// Mailbox returns a mailbox.
func (s *Store) Mailbox(ctx context.Context, a ident.Address) (registry.Mailbox, error) {
	m, err := mailbox(s.pool.QueryRow(ctx, mailboxQuery, string(a)))
	return m, s.failed("read a mailbox", err)
}

const mailboxQuery = `SELECT address, owner, created, expires, closed FROM mailboxes WHERE address = $1`

func mailbox(row pgx.Row) (registry.Mailbox, error) {
	var m registry.Mailbox
	var address string
	var owner []byte
	var created, expires int64
	err := row.Scan(&address, &owner, &created, &expires, &m.Closed)
	m.Address = ident.Address(address)
	copy(m.Owner[:], owner)
	m.Created, m.Expires = moment(created), moment(expires)
	return m, none(err, registry.ErrMailboxNotFound)
}

// AddTry adds a try to a mailbox. The mailbox's row is the lock under which
// tries are counted.
func (s *Store) AddTry(ctx context.Context, a ident.Address, t registry.Try, max int) (number int, err error) {
	err = s.tx(ctx, "add a try", func(tx pgx.Tx) error {
		m, err := mailbox(tx.QueryRow(ctx, mailboxQuery+` FOR UPDATE`, string(a)))
		if err != nil {
			return err
		}
		if err := m.Usable(t.Made); err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `SELECT number FROM tries WHERE address = $1 AND peer = $2 AND opening = $3`,
			string(a), t.Peer[:], t.Opening).Scan(&number)
		if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if err := tx.QueryRow(ctx, `SELECT count(*) + 1 FROM tries WHERE address = $1`, string(a)).Scan(&number); err != nil {
			return err
		}
		if number > max {
			return registry.ErrMailboxBurned
		}
		_, err = tx.Exec(ctx, `INSERT INTO tries (address, number, peer, made, opening) VALUES ($1, $2, $3, $4, $5)`,
			string(a), number, t.Peer[:], millis(t.Made), t.Opening)
		return err
	})
	if err != nil {
		return 0, err
	}
	return number, nil
}

// Tries returns the tries of a mailbox.
func (s *Store) Tries(ctx context.Context, a ident.Address) ([]registry.Try, error) {
	const query = `SELECT number, peer, made, opening, answer, confirmation FROM tries WHERE address = $1 ORDER BY number`
	return collect(ctx, s, "read the tries", func(row pgx.CollectableRow) (registry.Try, error) {
		var t registry.Try
		var peer []byte
		var made int64
		err := row.Scan(&t.Number, &peer, &made, &t.Opening, &t.Answer, &t.Confirmation)
		copy(t.Peer[:], peer)
		t.Made = moment(made)
		return t, err
	}, query, string(a))
}

// SetStep adds a message to a try.
func (s *Store) SetStep(ctx context.Context, a ident.Address, m registry.StepMessage, e *registry.Event) error {
	return s.tx(ctx, "add to a try", func(tx pgx.Tx) error {
		var t registry.Try
		err := tx.QueryRow(ctx, `SELECT answer, confirmation FROM tries WHERE address = $1 AND number = $2 FOR UPDATE`, string(a), m.Number).
			Scan(&t.Answer, &t.Confirmation)
		if err != nil {
			return none(err, registry.ErrTryNotFound)
		}
		if kept, err := t.Takes(m); kept || err != nil {
			return err
		}
		statement := `UPDATE tries SET answer = $1 WHERE address = $2 AND number = $3`
		if m.Step == registry.StepConfirmation {
			statement = `UPDATE tries SET confirmation = $1 WHERE address = $2 AND number = $3`
		}
		_, err = tx.Exec(ctx, statement, m.Body, string(a), m.Number)
		if err != nil || e == nil {
			return err
		}
		return addEvents(ctx, tx, *e)
	})
}

// CloseMailbox closes a mailbox and forgets its messages.
func (s *Store) CloseMailbox(ctx context.Context, a ident.Address) error {
	return s.tx(ctx, "close a mailbox", func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE mailboxes SET closed = true WHERE address = $1`, string(a)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM tries WHERE address = $1`, string(a))
		return err
	})
}
