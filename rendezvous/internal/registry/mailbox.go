package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// OpenMailbox opens a pairing mailbox for owner at a fresh address, for ten
// minutes and three tries. Errors: ErrMailboxLimit.
func (r *Registry) OpenMailbox(ctx context.Context, owner ident.PeerID) (Mailbox, error) {
	// An address has 25 bits: with so many draws even a crowded server finds
	// a free one.
	const draws = 20
	for range draws {
		address, err := ident.NewAddress(r.cfg.Random)
		if err != nil {
			return Mailbox{}, err
		}
		now := r.cfg.Now()
		m := Mailbox{Address: address, Owner: owner, Created: now, Expires: now.Add(api.MailboxTTL)}
		err = r.cfg.Store.CreateMailbox(ctx, m, r.mailboxLimit())
		if err == nil {
			r.cfg.Observe("pair", "offered", false)
		}
		if !errors.Is(err, ErrMailboxExists) {
			return m, err
		}
	}
	return Mailbox{}, fmt.Errorf("open a mailbox: no free address in %d draws: %w", draws, ErrMailboxLimit)
}

// Try begins a pairing with the owner of a mailbox. The same opening again is
// the same try. Errors: ErrMessage, ErrMailboxNotFound, ErrMailboxExpired,
// ErrMailboxClosed, ErrMailboxBurned, ErrMailboxOwn.
func (r *Registry) Try(ctx context.Context, caller ident.PeerID, a ident.Address, opening []byte) (Try, error) {
	if err := checkMessage(opening); err != nil {
		return Try{}, err
	}
	m, err := r.cfg.Store.Mailbox(ctx, a)
	if err == nil && m.Owner == caller {
		return Try{}, ErrMailboxOwn
	}
	t := Try{Peer: caller, Made: r.cfg.Now(), Opening: opening}
	if err == nil {
		t.Number, err = r.cfg.Store.AddTry(ctx, a, t, api.MaxTries)
	}
	if err != nil {
		r.Refused(ctx, "pair", caller, err)
		return Try{}, err
	}
	r.cfg.Observe("pair", "tried", false)
	return t, nil
}

// Tries returns to its owner the tries of a mailbox with a number above after,
// and waits up to wait for one. Errors: ErrMailboxNotFound for everyone else,
// ErrMailboxExpired, ErrMailboxClosed.
func (r *Registry) Tries(ctx context.Context, owner ident.PeerID, a ident.Address, after int, wait time.Duration) ([]Try, error) {
	var found []Try
	err := r.poll(ctx, wait, func() (bool, error) {
		if err := r.usableByOwner(ctx, owner, a); err != nil {
			return false, err
		}
		tries, err := r.cfg.Store.Tries(ctx, a)
		for _, t := range tries {
			if t.Number > after {
				found = append(found, t)
			}
		}
		return len(found) > 0, err
	})
	return found, err
}

// AwaitTry returns a try to the owner of its mailbox or the peer that made it,
// and waits up to wait for the other's next message: the owner for the
// confirmation, the peer for the answer. Errors: ErrTryNotFound for everyone
// else, ErrMailboxExpired, ErrMailboxClosed.
func (r *Registry) AwaitTry(ctx context.Context, caller ident.PeerID, a ident.Address, number int, wait time.Duration) (Try, error) {
	var found Try
	err := r.poll(ctx, wait, func() (bool, error) {
		m, t, err := r.try(ctx, a, number)
		if err != nil {
			return false, err
		}
		switch caller {
		case m.Owner:
			found = t
			return t.Confirmation != nil, nil
		case t.Peer:
			found = t
			return t.Answer != nil, nil
		}
		return false, ErrTryNotFound
	})
	return found, err
}

// Answer is the owner's message to a try. Errors: ErrMessage,
// ErrMailboxNotFound, ErrMailboxExpired, ErrMailboxClosed, ErrTryNotFound,
// ErrTryState.
func (r *Registry) Answer(ctx context.Context, owner ident.PeerID, a ident.Address, number int, body []byte) error {
	if err := checkMessage(body); err != nil {
		return err
	}
	if err := r.usableByOwner(ctx, owner, a); err != nil {
		return err
	}
	return r.cfg.Store.SetStep(ctx, a, StepMessage{number, StepAnswer, body}, nil)
}

// Confirm is the last message of a try, by the peer that made it. Errors:
// ErrMessage, ErrTryNotFound, ErrTryState, ErrMailboxExpired, ErrMailboxClosed.
func (r *Registry) Confirm(ctx context.Context, caller ident.PeerID, a ident.Address, number int, body []byte) error {
	if err := checkMessage(body); err != nil {
		return err
	}
	m, t, err := r.try(ctx, a, number)
	if err != nil {
		return err
	}
	if t.Peer != caller {
		return ErrTryNotFound
	}
	e := r.event(ctx, EventPaired)
	e.Peer, e.Other = caller, m.Owner
	if err := r.cfg.Store.SetStep(ctx, a, StepMessage{number, StepConfirmation, body}, &e); err != nil {
		return err
	}
	r.cfg.Observe("pair", "confirmed", false)
	return nil
}

// CloseMailbox ends a pairing, done or not. Closing twice is fine. Errors:
// ErrMailboxNotFound.
func (r *Registry) CloseMailbox(ctx context.Context, owner ident.PeerID, a ident.Address) error {
	m, err := r.cfg.Store.Mailbox(ctx, a)
	if err != nil {
		return err
	}
	if m.Owner != owner {
		return ErrMailboxNotFound
	}
	return r.cfg.Store.CloseMailbox(ctx, a)
}

// usableByOwner says why owner cannot use a mailbox: ErrMailboxNotFound where it
// is another's, and the errors of Usable.
func (r *Registry) usableByOwner(ctx context.Context, owner ident.PeerID, a ident.Address) error {
	m, err := r.cfg.Store.Mailbox(ctx, a)
	if err != nil {
		return err
	}
	if m.Owner != owner {
		return ErrMailboxNotFound
	}
	return m.Usable(r.cfg.Now())
}

// try returns a try and its mailbox while that can be used.
func (r *Registry) try(ctx context.Context, a ident.Address, number int) (Mailbox, Try, error) {
	m, err := r.cfg.Store.Mailbox(ctx, a)
	if err != nil {
		return m, Try{}, as(err, ErrMailboxNotFound, ErrTryNotFound)
	}
	if err := m.Usable(r.cfg.Now()); err != nil {
		return m, Try{}, err
	}
	tries, err := r.cfg.Store.Tries(ctx, a)
	if err != nil {
		return m, Try{}, err
	}
	for _, t := range tries {
		if t.Number == number {
			return m, t, nil
		}
	}
	return m, Try{}, ErrTryNotFound
}

// Usable says why a mailbox takes nothing any more: ErrMailboxClosed,
// ErrMailboxExpired, or nil.
func (m Mailbox) Usable(now time.Time) error {
	switch {
	case m.Closed:
		return ErrMailboxClosed
	case !now.Before(m.Expires):
		return ErrMailboxExpired
	}
	return nil
}

// Takes says what becomes of a message for the try. kept: it is there already, and
// stays. ErrTryState: another one is in its place, or the one before is missing.
func (t Try) Takes(m StepMessage) (kept bool, err error) {
	there := t.Answer
	if m.Step == StepConfirmation {
		if t.Answer == nil {
			return false, ErrTryState
		}
		there = t.Confirmation
	}
	if there != nil && !bytes.Equal(there, m.Body) {
		return false, ErrTryState
	}
	return there != nil, nil
}

// poll asks until the answer is yes, an error, or wait is over.
func (r *Registry) poll(ctx context.Context, wait time.Duration, ask func() (bool, error)) error {
	done, err := ask()
	if done || err != nil || wait <= 0 {
		return err
	}
	over := time.NewTimer(min(wait, api.MaxWait))
	defer over.Stop()
	again := time.NewTicker(r.cfg.PollEvery)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-over.C:
			return nil
		case <-again.C:
		}
		if done, err := ask(); done || err != nil {
			return err
		}
	}
}

func checkMessage(body []byte) error {
	if len(body) == 0 || len(body) > api.MaxMessage {
		return ErrMessage
	}
	return nil
}
