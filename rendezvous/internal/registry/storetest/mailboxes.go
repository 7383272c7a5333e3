package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/mailboxes"
)

const box = ident.Address("AAA-AAA")

var roomy = mailboxes.Limit{Open: 10, Kept: 100}

func mailbox(a ident.Address, owner int) mailboxes.Mailbox {
	return mailboxes.Mailbox{Address: a, Owner: id(owner), Created: start, Expires: start.Add(time.Minute)}
}

func attempt(peer int, opening string) mailboxes.Try {
	return mailboxes.Try{Peer: id(peer), Made: start, Opening: []byte(opening)}
}

func mailboxLife(t *testing.T, s *database.Database) {
	ctx := t.Context()
	_, err := s.Mailboxes.Mailbox(ctx, box)
	is(t, "before", err, mailboxes.ErrNotFound)
	_, err = s.Mailboxes.AddTry(ctx, box, attempt(2, "x"), 3)
	is(t, "try before", err, mailboxes.ErrNotFound)

	must(t, "create", s.Mailboxes.CreateMailbox(ctx, mailbox(box, 1), roomy))
	is(t, "create again", s.Mailboxes.CreateMailbox(ctx, mailbox(box, 2), roomy), mailboxes.ErrExists)
	m, err := s.Mailboxes.Mailbox(ctx, box)
	must(t, "read", err)
	equal(t, "mailbox", m, mailbox(box, 1))

	n, err := s.Mailboxes.AddTry(ctx, box, attempt(2, "hello"), 3)
	must(t, "try", err)
	equal(t, "number", n, 1)
	tries, err := s.Mailboxes.Tries(ctx, box)
	must(t, "tries", err)
	if len(tries) != 1 || tries[0].Peer != id(2) || string(tries[0].Opening) != "hello" || !tries[0].Made.Equal(start) ||
		tries[0].Answer != nil || tries[0].Confirmation != nil {
		t.Errorf("tries: %+v", tries)
	}

	must(t, "close", s.Mailboxes.CloseMailbox(ctx, box))
	must(t, "close again", s.Mailboxes.CloseMailbox(ctx, box))
	must(t, "close nothing", s.Mailboxes.CloseMailbox(ctx, "BBB-BBB"))
	m, err = s.Mailboxes.Mailbox(ctx, box)
	must(t, "read", err)
	equal(t, "closed", m.Closed, true)
	_, err = s.Mailboxes.AddTry(ctx, box, attempt(2, "late"), 3)
	is(t, "try a closed one", err, mailboxes.ErrClosed)
	is(t, "answer in a closed one", s.Mailboxes.SetStep(ctx, box, mailboxes.StepMessage{Number: 1, Step: mailboxes.StepAnswer, Body: []byte("a")}, nil), mailboxes.ErrTryNotFound)
	tries, err = s.Mailboxes.Tries(ctx, box)
	must(t, "tries", err)
	equal(t, "messages kept", len(tries), 0)
}

func mailboxesAreBounded(t *testing.T, s *database.Database) {
	ctx := t.Context()
	admit(t, s, 1)
	limit := mailboxes.Limit{Open: 2, Kept: 4}
	name := func(i int) ident.Address { return ident.Address(fmt.Sprintf("AAA-AA%c", 'A'+i)) }
	for i := range 2 {
		must(t, "create", s.Mailboxes.CreateMailbox(ctx, mailbox(name(i), 1), limit))
	}
	is(t, "a third open", s.Mailboxes.CreateMailbox(ctx, mailbox(name(2), 1), limit), mailboxes.ErrLimit)
	must(t, "another owner", s.Mailboxes.CreateMailbox(ctx, mailbox(name(3), 2), limit))
	must(t, "close", s.Mailboxes.CloseMailbox(ctx, name(0)))
	must(t, "one after closing", s.Mailboxes.CreateMailbox(ctx, mailbox(name(4), 1), limit))

	later := mailbox(name(5), 1)
	later.Created, later.Expires = start.Add(time.Minute), start.Add(2*time.Minute)
	must(t, "one after the others expired", s.Mailboxes.CreateMailbox(ctx, later, limit))
	later.Address = name(6)
	is(t, "more than are kept", s.Mailboxes.CreateMailbox(ctx, later, limit), mailboxes.ErrLimit)

	ok, failed := race(20, func(i int) error {
		return s.Mailboxes.CreateMailbox(ctx, mailbox(ident.Address(fmt.Sprintf("BBB-BB%c", 'A'+i)), 1), mailboxes.Limit{Open: 1000, Kept: 9})
	})
	equal(t, "raced", ok, 5)
	for _, err := range failed {
		is(t, "raced", err, mailboxes.ErrLimit)
	}
}

func triesRacedAreThree(t *testing.T, s *database.Database) {
	ctx := t.Context()
	must(t, "create", s.Mailboxes.CreateMailbox(ctx, mailbox(box, 1), roomy))
	ok, failed := race(20, func(i int) error {
		_, err := s.Mailboxes.AddTry(ctx, box, attempt(i, fmt.Sprint("opening ", i)), 3)
		return err
	})
	equal(t, "tries", ok, 3)
	for _, err := range failed {
		is(t, "the rest", err, mailboxes.ErrBurned)
	}
	tries, err := s.Mailboxes.Tries(ctx, box)
	must(t, "tries", err)
	equal(t, "kept", len(tries), 3)
	for i, got := range tries {
		equal(t, "number", got.Number, i+1)
		equal(t, "opening", string(got.Opening), fmt.Sprint("opening ", indexOf(got.Peer)))
	}
}

func indexOf(p ident.PeerID) int {
	for i := range 20 {
		if id(i) == p {
			return i
		}
	}
	return -1
}

func tryAgainIsTheSame(t *testing.T, s *database.Database) {
	ctx := t.Context()
	must(t, "create", s.Mailboxes.CreateMailbox(ctx, mailbox(box, 1), roomy))
	ok, failed := race(10, func(int) error {
		n, err := s.Mailboxes.AddTry(ctx, box, attempt(2, "same"), 3)
		if err == nil && n != 1 {
			err = fmt.Errorf("number %d", n)
		}
		return err
	})
	if ok != 10 {
		t.Errorf("repeated: %v", failed)
	}
	n, err := s.Mailboxes.AddTry(ctx, box, attempt(2, "different"), 3)
	must(t, "another opening", err)
	equal(t, "number", n, 2)
	n, err = s.Mailboxes.AddTry(ctx, box, attempt(3, "same"), 3)
	must(t, "another peer", err)
	equal(t, "number", n, 3)
	n, err = s.Mailboxes.AddTry(ctx, box, attempt(2, "different"), 3)
	must(t, "again when burned", err)
	equal(t, "number", n, 2)
}

func stepsAreOrderedAndOnce(t *testing.T, s *database.Database) {
	ctx := t.Context()
	must(t, "create", s.Mailboxes.CreateMailbox(ctx, mailbox(box, 1), roomy))
	paired := event(audit.KindPaired)
	set := func(step mailboxes.Step, body string) error {
		var e *audit.Event
		if step == mailboxes.StepConfirmation {
			e = &paired
		}
		return s.Mailboxes.SetStep(ctx, box, mailboxes.StepMessage{Number: 1, Step: step, Body: []byte(body)}, e)
	}
	is(t, "answer to no try", set(mailboxes.StepAnswer, "a"), mailboxes.ErrTryNotFound)
	_, err := s.Mailboxes.AddTry(ctx, box, attempt(2, "o"), 3)
	must(t, "try", err)
	is(t, "confirmation before the answer", set(mailboxes.StepConfirmation, "c"), mailboxes.ErrTryState)
	is(t, "answer", set(mailboxes.StepAnswer, "a"), nil)
	is(t, "answer again", set(mailboxes.StepAnswer, "a"), nil)
	is(t, "another answer", set(mailboxes.StepAnswer, "b"), mailboxes.ErrTryState)
	is(t, "confirmation", set(mailboxes.StepConfirmation, "c"), nil)
	is(t, "confirmation again", set(mailboxes.StepConfirmation, "c"), nil)
	is(t, "another confirmation", set(mailboxes.StepConfirmation, "d"), mailboxes.ErrTryState)
	tries, err := s.Mailboxes.Tries(ctx, box)
	must(t, "tries", err)
	if len(tries) != 1 || string(tries[0].Answer) != "a" || string(tries[0].Confirmation) != "c" {
		t.Errorf("tries: %+v", tries)
	}
	equal(t, "events", len(events(t, s)), 1)
}

func mailboxExpires(t *testing.T, s *database.Database) {
	ctx := t.Context()
	must(t, "create", s.Mailboxes.CreateMailbox(ctx, mailbox(box, 1), roomy))
	try := attempt(2, "o")
	try.Made = start.Add(time.Minute)
	_, err := s.Mailboxes.AddTry(ctx, box, try, 3)
	is(t, "at its end", err, mailboxes.ErrExpired)
	try.Made = start.Add(time.Minute - time.Millisecond)
	_, err = s.Mailboxes.AddTry(ctx, box, try, 3)
	is(t, "just before", err, nil)
}
