package mailboxes

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
)

const (
	defaultMaxOpen      = 4
	defaultPollInterval = 150 * time.Millisecond
	// keptPerOpen bounds closed and expired mailboxes of one owner, as a multiple
	// of the open ones, so that opening and closing them does not fill the table.
	keptPerOpen = 16
	// maxDraws bounds the tries for a free address. An address has 25 bits: even
	// a crowded server finds a free one.
	maxDraws = 20
)

// Config configures a Service. The zero value of a limit is its default.
type Config struct {
	Store        Store
	MaxOpen      int              // open mailboxes of one peer; 0: 4
	PollInterval time.Duration    // between two reads while a caller waits; 0: 150 ms
	Random       io.Reader        // nil: crypto/rand
	Now          func() time.Time // nil: time.Now
	// Refused counts a refused request, see audit.Log.
	Refused func(ctx context.Context, request string, peer ident.PeerID, err error)
	// OnStep is called for each step of a pairing: "offered", "tried" and
	// "confirmed". It may be nil.
	OnStep func(step string)
}

// Service pairs peers through mailboxes. Its methods may be called concurrently.
type Service struct {
	cfg Config // static after New
}

// New returns a service.
func New(c Config) (*Service, error) {
	if c.Store == nil || c.Refused == nil {
		return nil, errors.New("mailboxes: a store and a count of refusals are needed")
	}
	if c.MaxOpen <= 0 {
		c.MaxOpen = defaultMaxOpen
	}
	if c.PollInterval <= 0 {
		c.PollInterval = defaultPollInterval
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.OnStep == nil {
		c.OnStep = func(string) {}
	}
	c.Now = registry.Clock(c.Now)
	return &Service{c}, nil
}

// OpenMailbox opens a mailbox for owner at a new address, for ten minutes and
// three tries. Errors: ErrLimit.
func (s *Service) OpenMailbox(ctx context.Context, owner ident.PeerID) (Mailbox, error) {
	limit := Limit{Open: s.cfg.MaxOpen, Kept: keptPerOpen * s.cfg.MaxOpen}
	for range maxDraws {
		address, err := ident.NewAddress(s.cfg.Random)
		if err != nil {
			return Mailbox{}, err
		}
		now := s.cfg.Now()
		m := Mailbox{Address: address, Owner: owner, Created: now, Expires: now.Add(api.MailboxTTL)}
		err = s.cfg.Store.CreateMailbox(ctx, m, limit)
		if err == nil {
			s.cfg.OnStep("offered")
		}
		if !errors.Is(err, ErrExists) {
			return m, err
		}
	}
	return Mailbox{}, fmt.Errorf("open a mailbox: no free address in %d draws: %w", maxDraws, ErrLimit)
}

// Try begins a pairing with the owner of a mailbox. The same opening again is the
// same try. Errors: ErrMessage, ErrNotFound, ErrExpired, ErrClosed, ErrBurned,
// ErrOwn.
func (s *Service) Try(ctx context.Context, caller ident.PeerID, a ident.Address, opening []byte) (Try, error) {
	if err := checkMessage(opening); err != nil {
		return Try{}, err
	}
	m, err := s.cfg.Store.Mailbox(ctx, a)
	if err == nil && m.Owner == caller {
		return Try{}, ErrOwn
	}
	t := Try{Peer: caller, Made: s.cfg.Now(), Opening: opening}
	if err == nil {
		t.Number, err = s.cfg.Store.AddTry(ctx, a, t, api.MaxTries)
	}
	if err != nil {
		s.cfg.Refused(ctx, "pair", caller, err)
		return Try{}, err
	}
	s.cfg.OnStep("tried")
	return t, nil
}

// Tries returns to the owner the tries of a mailbox with a number above after,
// and waits up to wait for one. Errors: ErrNotFound for other callers,
// ErrExpired, ErrClosed.
func (s *Service) Tries(ctx context.Context, owner ident.PeerID, a ident.Address, after int,
	wait time.Duration,
) ([]Try, error) {
	var found []Try
	err := s.poll(ctx, wait, func() (bool, error) {
		if err := s.usableByOwner(ctx, owner, a); err != nil {
			return false, err
		}
		tries, err := s.cfg.Store.Tries(ctx, a)
		for _, t := range tries {
			if t.Number > after {
				found = append(found, t)
			}
		}
		return len(found) > 0, err
	})
	return found, err
}

// TryRef identifies a try.
type TryRef struct {
	Mailbox ident.Address
	Number  int
}

// AwaitTry returns a try to the owner of its mailbox or to the peer that made it,
// and waits up to wait for the next message: the owner for the confirmation, the
// peer for the answer. Errors: ErrTryNotFound for other callers, ErrExpired,
// ErrClosed.
func (s *Service) AwaitTry(ctx context.Context, caller ident.PeerID, ref TryRef, wait time.Duration) (Try, error) {
	var found Try
	err := s.poll(ctx, wait, func() (bool, error) {
		m, t, err := s.try(ctx, ref)
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

// Answer adds the owner's message to a try. Errors: ErrMessage, ErrNotFound,
// ErrExpired, ErrClosed, ErrTryNotFound, ErrTryState.
func (s *Service) Answer(ctx context.Context, owner ident.PeerID, ref TryRef, body []byte) error {
	if err := checkMessage(body); err != nil {
		return err
	}
	if err := s.usableByOwner(ctx, owner, ref.Mailbox); err != nil {
		return err
	}
	return s.cfg.Store.SetStep(ctx, ref.Mailbox, StepMessage{ref.Number, StepAnswer, body}, nil)
}

// Confirm adds the last message of a try, by the peer that made the try. Errors:
// ErrMessage, ErrTryNotFound, ErrTryState, ErrExpired, ErrClosed.
func (s *Service) Confirm(ctx context.Context, caller ident.PeerID, ref TryRef, body []byte) error {
	if err := checkMessage(body); err != nil {
		return err
	}
	m, t, err := s.try(ctx, ref)
	if err != nil {
		return err
	}
	if t.Peer != caller {
		return ErrTryNotFound
	}
	e := audit.NewEvent(ctx, s.cfg.Now(), audit.KindPaired)
	e.Peer, e.Other = caller, m.Owner
	if err := s.cfg.Store.SetStep(ctx, ref.Mailbox, StepMessage{ref.Number, StepConfirmation, body}, &e); err != nil {
		return err
	}
	s.cfg.OnStep("confirmed")
	return nil
}

// CloseMailbox ends a pairing, complete or not. Closing it again is not an error.
// Errors: ErrNotFound.
func (s *Service) CloseMailbox(ctx context.Context, owner ident.PeerID, a ident.Address) error {
	m, err := s.cfg.Store.Mailbox(ctx, a)
	if err != nil {
		return err
	}
	if m.Owner != owner {
		return ErrNotFound
	}
	return s.cfg.Store.CloseMailbox(ctx, a)
}

// usableByOwner returns nil if owner can use its mailbox. Errors: ErrNotFound if
// the mailbox belongs to another peer, and those of Usable.
func (s *Service) usableByOwner(ctx context.Context, owner ident.PeerID, a ident.Address) error {
	m, err := s.cfg.Store.Mailbox(ctx, a)
	if err != nil {
		return err
	}
	if m.Owner != owner {
		return ErrNotFound
	}
	return m.Usable(s.cfg.Now())
}

// try returns a try and its mailbox, if the mailbox is usable.
func (s *Service) try(ctx context.Context, ref TryRef) (Mailbox, Try, error) {
	m, err := s.cfg.Store.Mailbox(ctx, ref.Mailbox)
	if err != nil {
		return m, Try{}, registry.Replace(err, ErrNotFound, ErrTryNotFound)
	}
	if err := m.Usable(s.cfg.Now()); err != nil {
		return m, Try{}, err
	}
	tries, err := s.cfg.Store.Tries(ctx, ref.Mailbox)
	if err != nil {
		return m, Try{}, err
	}
	for _, t := range tries {
		if t.Number == ref.Number {
			return m, t, nil
		}
	}
	return m, Try{}, ErrTryNotFound
}

// poll calls read until it reports true or an error, or until wait has passed.
// The message may come from a peer at another instance, so only the store knows
// of it.
func (s *Service) poll(ctx context.Context, wait time.Duration, read func() (bool, error)) error {
	done, err := read()
	if done || err != nil || wait <= 0 {
		return err
	}
	timeout := time.NewTimer(min(wait, api.MaxWait))
	defer timeout.Stop()
	tick := time.NewTicker(s.cfg.PollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout.C:
			return nil
		case <-tick.C:
		}
		if done, err := read(); done || err != nil {
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
