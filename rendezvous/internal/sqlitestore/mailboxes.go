package sqlitestore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/mailboxes"
)

// CreateMailbox keeps a new mailbox.
func (s Mailboxes) CreateMailbox(ctx context.Context, m mailboxes.Mailbox, limit mailboxes.Limit) error {
	return s.db.tx(ctx, "open a mailbox", func(tx *transaction) error {
		var open, kept int
		err := tx.QueryRowContext(ctx, `SELECT count(*) FILTER (WHERE NOT closed AND expires > ?1), count(*)
			FROM mailboxes
			WHERE owner = ?2`, millis(m.Created), m.Owner[:]).Scan(&open, &kept)
		if err != nil {
			return err
		}
		if open >= limit.Open || kept >= limit.Kept {
			return mailboxes.ErrLimit
		}
		res, err := tx.ExecContext(ctx, `INSERT INTO mailboxes (address, owner, created, expires, closed) VALUES (?1,
			?2, ?3, ?4, ?5)
			ON CONFLICT DO NOTHING`, string(m.Address), m.Owner[:], millis(m.Created), millis(m.Expires), m.Closed)
		return touched(res, err, mailboxes.ErrExists)
	})
}

// Mailbox returns a mailbox.
func (s Mailboxes) Mailbox(ctx context.Context, a ident.Address) (mailboxes.Mailbox, error) {
	m, err := scanMailbox(s.db.read.QueryRowContext(ctx, mailboxQuery, string(a)))
	return m, failed("read a mailbox", err)
}

const mailboxQuery = `SELECT address, owner, created, expires, closed FROM mailboxes WHERE address = ?1`

func scanMailbox(row scanner) (mailboxes.Mailbox, error) {
	var m mailboxes.Mailbox
	var address string
	var owner []byte
	var created, expires int64
	err := row.Scan(&address, &owner, &created, &expires, &m.Closed)
	m.Address = ident.Address(address)
	copy(m.Owner[:], owner)
	m.Created, m.Expires = moment(created), moment(expires)
	return m, none(err, mailboxes.ErrNotFound)
}

// AddTry adds a try to a mailbox.
func (s Mailboxes) AddTry(ctx context.Context, a ident.Address, t mailboxes.Try, max int) (number int, err error) {
	err = s.db.tx(ctx, "add a try", func(tx *transaction) error {
		m, err := scanMailbox(tx.QueryRowContext(ctx, mailboxQuery+``, string(a)))
		if err != nil {
			return err
		}
		if err := m.Usable(t.Made); err != nil {
			return err
		}
		err = tx.QueryRowContext(ctx, `SELECT number FROM tries WHERE address = ?1 AND peer = ?2 AND opening = ?3`,
			string(a), t.Peer[:], t.Opening).Scan(&number)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err := tx.QueryRowContext(ctx, `SELECT count(*) + 1 FROM tries WHERE address = ?1`,
			string(a)).Scan(&number); err != nil {
			return err
		}
		if number > max {
			return mailboxes.ErrBurned
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO tries (address, number, peer, made, opening) VALUES (?1, ?2, ?3, ?4,
			?5)`,
			string(a), number, t.Peer[:], millis(t.Made), t.Opening)
		return err
	})
	if err != nil {
		return 0, err
	}
	return number, nil
}

// Tries returns the tries of a mailbox.
func (s Mailboxes) Tries(ctx context.Context, a ident.Address) ([]mailboxes.Try, error) {
	return collect(ctx, s.db, query{
		"read the tries",
		`SELECT number, peer, made, opening, answer, confirmation FROM tries WHERE address = ?1 ORDER BY number`,
		[]any{string(a)},
	}, func(row scanner) (mailboxes.Try, error) {
		var t mailboxes.Try
		var peer []byte
		var made int64
		err := row.Scan(&t.Number, &peer, &made, &t.Opening, &t.Answer, &t.Confirmation)
		copy(t.Peer[:], peer)
		t.Made = moment(made)
		return t, err
	})
}

// SetStep adds a message to a try.
func (s Mailboxes) SetStep(ctx context.Context, a ident.Address, m mailboxes.StepMessage, e *audit.Event) error {
	return s.db.tx(ctx, "add to a try", func(tx *transaction) error {
		var t mailboxes.Try
		err := tx.QueryRowContext(ctx, `SELECT answer, confirmation FROM tries WHERE address = ?1 AND number = ?2`,
			string(a), m.Number).Scan(&t.Answer, &t.Confirmation)
		if err != nil {
			return none(err, mailboxes.ErrTryNotFound)
		}
		if kept, err := t.Accepts(m); kept || err != nil {
			return err
		}
		update := `UPDATE tries SET answer = ?1 WHERE address = ?2 AND number = ?3`
		if m.Step == mailboxes.StepConfirmation {
			update = `UPDATE tries SET confirmation = ?1 WHERE address = ?2 AND number = ?3`
		}
		_, err = tx.ExecContext(ctx, update, m.Body, string(a), m.Number)
		if err != nil || e == nil {
			return err
		}
		return addEvents(ctx, tx, *e)
	})
}

// CloseMailbox closes a mailbox and deletes its messages.
func (s Mailboxes) CloseMailbox(ctx context.Context, a ident.Address) error {
	return s.db.tx(ctx, "close a mailbox", func(tx *transaction) error {
		if _, err := tx.ExecContext(ctx, `UPDATE mailboxes SET closed = true WHERE address = ?1`,
			string(a)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM tries WHERE address = ?1`, string(a))
		return err
	})
}
