package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

const box = ident.Address("AAA-AAA")

var roomy = registry.MailboxLimit{Open: 10, Kept: 100}

func mailbox(a ident.Address, owner int) registry.Mailbox {
	return registry.Mailbox{Address: a, Owner: id(owner), Created: start, Expires: start.Add(time.Minute)}
}

func attempt(peer int, opening string) registry.Try {
	return registry.Try{Peer: id(peer), Made: start, Opening: []byte(opening)}
}

func mailboxLife(t *testing.T, s registry.Store) {
	ctx := t.Context()
	_, err := s.Mailbox(ctx, box)
	is(t, "before", err, registry.ErrMailboxNotFound)
	_, err = s.AddTry(ctx, box, attempt(2, "x"), 3)
	is(t, "try before", err, registry.ErrMailboxNotFound)

	must(t, "create", s.CreateMailbox(ctx, mailbox(box, 1), roomy))
	is(t, "create again", s.CreateMailbox(ctx, mailbox(box, 2), roomy), registry.ErrMailboxExists)
	m, err := s.Mailbox(ctx, box)
	must(t, "read", err)
	equal(t, "mailbox", m, mailbox(box, 1))

	n, err := s.AddTry(ctx, box, attempt(2, "hello"), 3)
	must(t, "try", err)
	equal(t, "number", n, 1)
	tries, err := s.Tries(ctx, box)
	must(t, "tries", err)
	if len(tries) != 1 || tries[0].Peer != id(2) || string(tries[0].Opening) != "hello" || !tries[0].Made.Equal(start) ||
		tries[0].Answer != nil || tries[0].Confirmation != nil {
		t.Errorf("tries: %+v", tries)
	}

	must(t, "close", s.CloseMailbox(ctx, box))
	must(t, "close again", s.CloseMailbox(ctx, box))
	must(t, "close nothing", s.CloseMailbox(ctx, "BBB-BBB"))
	m, err = s.Mailbox(ctx, box)
	must(t, "read", err)
	equal(t, "closed", m.Closed, true)
	_, err = s.AddTry(ctx, box, attempt(2, "late"), 3)
	is(t, "try a closed one", err, registry.ErrMailboxClosed)
	is(t, "answer in a closed one", s.SetStep(ctx, box, registry.StepMessage{Number: 1, Step: registry.StepAnswer, Body: []byte("a")}, nil), registry.ErrTryNotFound)
	tries, err = s.Tries(ctx, box)
	must(t, "tries", err)
	equal(t, "messages kept", len(tries), 0)
}

func mailboxesAreBounded(t *testing.T, s registry.Store) {
	ctx := t.Context()
	admit(t, s, 1)
	limit := registry.MailboxLimit{Open: 2, Kept: 4}
	name := func(i int) ident.Address { return ident.Address(fmt.Sprintf("AAA-AA%c", 'A'+i)) }
	for i := range 2 {
		must(t, "create", s.CreateMailbox(ctx, mailbox(name(i), 1), limit))
	}
	is(t, "a third open", s.CreateMailbox(ctx, mailbox(name(2), 1), limit), registry.ErrMailboxLimit)
	must(t, "another owner", s.CreateMailbox(ctx, mailbox(name(3), 2), limit))
	must(t, "close", s.CloseMailbox(ctx, name(0)))
	must(t, "one after closing", s.CreateMailbox(ctx, mailbox(name(4), 1), limit))

	later := mailbox(name(5), 1)
	later.Created, later.Expires = start.Add(time.Minute), start.Add(2*time.Minute)
	must(t, "one after the others expired", s.CreateMailbox(ctx, later, limit))
	later.Address = name(6)
	is(t, "more than are kept", s.CreateMailbox(ctx, later, limit), registry.ErrMailboxLimit)

	ok, failed := race(20, func(i int) error {
		return s.CreateMailbox(ctx, mailbox(ident.Address(fmt.Sprintf("BBB-BB%c", 'A'+i)), 1), registry.MailboxLimit{Open: 1000, Kept: 9})
	})
	equal(t, "raced", ok, 5)
	for _, err := range failed {
		is(t, "raced", err, registry.ErrMailboxLimit)
	}
}

func triesRacedAreThree(t *testing.T, s registry.Store) {
	ctx := t.Context()
	must(t, "create", s.CreateMailbox(ctx, mailbox(box, 1), roomy))
	ok, failed := race(20, func(i int) error {
		_, err := s.AddTry(ctx, box, attempt(i, fmt.Sprint("opening ", i)), 3)
		return err
	})
	equal(t, "tries", ok, 3)
	for _, err := range failed {
		is(t, "the rest", err, registry.ErrMailboxBurned)
	}
	tries, err := s.Tries(ctx, box)
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

func tryAgainIsTheSame(t *testing.T, s registry.Store) {
	ctx := t.Context()
	must(t, "create", s.CreateMailbox(ctx, mailbox(box, 1), roomy))
	ok, failed := race(10, func(int) error {
		n, err := s.AddTry(ctx, box, attempt(2, "same"), 3)
		if err == nil && n != 1 {
			err = fmt.Errorf("number %d", n)
		}
		return err
	})
	if ok != 10 {
		t.Errorf("repeated: %v", failed)
	}
	n, err := s.AddTry(ctx, box, attempt(2, "different"), 3)
	must(t, "another opening", err)
	equal(t, "number", n, 2)
	n, err = s.AddTry(ctx, box, attempt(3, "same"), 3)
	must(t, "another peer", err)
	equal(t, "number", n, 3)
	n, err = s.AddTry(ctx, box, attempt(2, "different"), 3)
	must(t, "again when burned", err)
	equal(t, "number", n, 2)
}

func stepsAreOrderedAndOnce(t *testing.T, s registry.Store) {
	ctx := t.Context()
	must(t, "create", s.CreateMailbox(ctx, mailbox(box, 1), roomy))
	paired := event(registry.EventPaired)
	set := func(step registry.Step, body string) error {
		var e *registry.Event
		if step == registry.StepConfirmation {
			e = &paired
		}
		return s.SetStep(ctx, box, registry.StepMessage{Number: 1, Step: step, Body: []byte(body)}, e)
	}
	is(t, "answer to no try", set(registry.StepAnswer, "a"), registry.ErrTryNotFound)
	_, err := s.AddTry(ctx, box, attempt(2, "o"), 3)
	must(t, "try", err)
	is(t, "confirmation before the answer", set(registry.StepConfirmation, "c"), registry.ErrTryState)
	is(t, "answer", set(registry.StepAnswer, "a"), nil)
	is(t, "answer again", set(registry.StepAnswer, "a"), nil)
	is(t, "another answer", set(registry.StepAnswer, "b"), registry.ErrTryState)
	is(t, "confirmation", set(registry.StepConfirmation, "c"), nil)
	is(t, "confirmation again", set(registry.StepConfirmation, "c"), nil)
	is(t, "another confirmation", set(registry.StepConfirmation, "d"), registry.ErrTryState)
	tries, err := s.Tries(ctx, box)
	must(t, "tries", err)
	if len(tries) != 1 || string(tries[0].Answer) != "a" || string(tries[0].Confirmation) != "c" {
		t.Errorf("tries: %+v", tries)
	}
	equal(t, "events", len(events(t, s)), 1)
}

func mailboxExpires(t *testing.T, s registry.Store) {
	ctx := t.Context()
	must(t, "create", s.CreateMailbox(ctx, mailbox(box, 1), roomy))
	try := attempt(2, "o")
	try.Made = start.Add(time.Minute)
	_, err := s.AddTry(ctx, box, try, 3)
	is(t, "at its end", err, registry.ErrMailboxExpired)
	try.Made = start.Add(time.Minute - time.Millisecond)
	_, err = s.AddTry(ctx, box, try, 3)
	is(t, "just before", err, nil)
}
