package sqlitestore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// CreateMailbox keeps a new mailbox.
func (s *Store) CreateMailbox(ctx context.Context, m registry.Mailbox, limit registry.MailboxLimit) error {
	return s.tx(ctx, "open a mailbox", func(tx *transaction) error {
		var open, kept int
		err := tx.QueryRowContext(ctx, `SELECT count(*) FILTER (WHERE closed = 0 AND expires > ?), count(*) FROM mailboxes WHERE owner = ?`,
			millis(m.Created), m.Owner[:]).Scan(&open, &kept)
		if err != nil {
			return err
		}
		if open >= limit.Open || kept >= limit.Kept {
			return registry.ErrMailboxLimit
		}
		res, err := tx.ExecContext(ctx, `INSERT INTO mailboxes (address, owner, created, expires, closed) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			string(m.Address), m.Owner[:], millis(m.Created), millis(m.Expires), m.Closed)
		return oneRow(res, err, registry.ErrMailboxExists)
	})
}

// Mailbox returns a mailbox.
func (s *Store) Mailbox(ctx context.Context, a ident.Address) (registry.Mailbox, error) {
	m, err := mailbox(s.read.QueryRowContext(ctx, mailboxQuery, string(a)))
	return m, failed("read a mailbox", err)
}

const mailboxQuery = `SELECT address, owner, created, expires, closed FROM mailboxes WHERE address = ?`

func mailbox(row *sql.Row) (registry.Mailbox, error) {
	var m registry.Mailbox
	var owner []byte
	var created, expires int64
	err := row.Scan(&m.Address, &owner, &created, &expires, &m.Closed)
	if errors.Is(err, sql.ErrNoRows) {
		err = registry.ErrMailboxNotFound
	}
	copy(m.Owner[:], owner)
	m.Created, m.Expires = moment(created), moment(expires)
	return m, err
}

// AddTry adds a try to a mailbox.
func (s *Store) AddTry(ctx context.Context, a ident.Address, t registry.Try, max int) (number int, err error) {
	err = s.tx(ctx, "add a try", func(tx *transaction) error {
		m, err := mailbox(tx.QueryRowContext(ctx, mailboxQuery, string(a)))
		if err != nil {
			return err
		}
		if err := m.Usable(t.Made); err != nil {
			return err
		}
		err = tx.QueryRowContext(ctx, `SELECT number FROM tries WHERE address = ? AND peer = ? AND opening = ?`,
			string(a), t.Peer[:], t.Opening).Scan(&number)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err := tx.QueryRowContext(ctx, `SELECT count(*) + 1 FROM tries WHERE address = ?`, string(a)).Scan(&number); err != nil {
			return err
		}
		if number > max {
			return registry.ErrMailboxBurned
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO tries (address, number, peer, made, opening) VALUES (?, ?, ?, ?, ?)`,
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
	rows, err := s.read.QueryContext(ctx, `SELECT number, peer, made, opening, answer, confirmation FROM tries WHERE address = ? ORDER BY number`, string(a))
	if err != nil {
		return nil, failed("read the tries", err)
	}
	return collect(rows, "read the tries", func(rows *sql.Rows) (registry.Try, error) {
		var t registry.Try
		var peer []byte
		var made int64
		err := rows.Scan(&t.Number, &peer, &made, &t.Opening, &t.Answer, &t.Confirmation)
		copy(t.Peer[:], peer)
		t.Made = moment(made)
		return t, err
	})
}

// SetStep adds a message to a try.
func (s *Store) SetStep(ctx context.Context, a ident.Address, m registry.StepMessage, e *registry.Event) error {
	return s.tx(ctx, "add to a try", func(tx *transaction) error {
		var t registry.Try
		err := tx.QueryRowContext(ctx, `SELECT answer, confirmation FROM tries WHERE address = ? AND number = ?`, string(a), m.Number).Scan(&t.Answer, &t.Confirmation)
		if errors.Is(err, sql.ErrNoRows) {
			return registry.ErrTryNotFound
		}
		if err != nil {
			return err
		}
		if kept, err := t.Takes(m); kept || err != nil {
			return err
		}
		statement := `UPDATE tries SET answer = ? WHERE address = ? AND number = ?`
		if m.Step == registry.StepConfirmation {
			statement = `UPDATE tries SET confirmation = ? WHERE address = ? AND number = ?`
		}
		_, err = tx.ExecContext(ctx, statement, m.Body, string(a), m.Number)
		if err != nil || e == nil {
			return err
		}
		return addEvents(ctx, tx, *e)
	})
}

// CloseMailbox closes a mailbox and forgets its messages.
func (s *Store) CloseMailbox(ctx context.Context, a ident.Address) error {
	return s.tx(ctx, "close a mailbox", func(tx *transaction) error {
		if _, err := tx.ExecContext(ctx, `UPDATE mailboxes SET closed = 1 WHERE address = ?`, string(a)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM tries WHERE address = ?`, string(a))
		return err
	})
}
