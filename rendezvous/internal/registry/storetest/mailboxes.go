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

// mailbox returns a mailbox of the nth peer, which expires a minute after start.
func mailbox(a ident.Address, owner int) mailboxes.Mailbox {
	return mailboxes.Mailbox{Address: a, Owner: id(owner), Created: start, Expires: start.Add(time.Minute)}
}

// attempt returns a try of the nth peer.
func attempt(peer int, opening string) mailboxes.Try {
	return mailboxes.Try{Peer: id(peer), Made: start, Opening: []byte(opening)}
}

// mailboxIsOpenedAndClosed checks that a mailbox accepts tries until it is closed, and that closing it
// deletes its messages.
func mailboxIsOpenedAndClosed(t *testing.T, db *database.Database) {
	ctx := t.Context()
	_, err := db.Mailboxes.Mailbox(ctx, box)
	is(t, "read an unknown mailbox", err, mailboxes.ErrNotFound)
	_, err = db.Mailboxes.AddTry(ctx, box, attempt(2, "x"), 3)
	is(t, "try at an unknown mailbox", err, mailboxes.ErrNotFound)

	must(t, "create", db.Mailboxes.CreateMailbox(ctx, mailbox(box, 1), roomy))
	is(t, "create again", db.Mailboxes.CreateMailbox(ctx, mailbox(box, 2), roomy), mailboxes.ErrExists)
	m, err := db.Mailboxes.Mailbox(ctx, box)
	must(t, "read", err)
	equal(t, "mailbox", m, mailbox(box, 1))

	n, err := db.Mailboxes.AddTry(ctx, box, attempt(2, "hello"), 3)
	must(t, "try", err)
	equal(t, "number", n, 1)
	tries, err := db.Mailboxes.Tries(ctx, box)
	must(t, "tries", err)
	if len(tries) != 1 || tries[0].Peer != id(2) || string(tries[0].Opening) != "hello" ||
		!tries[0].Made.Equal(start) ||
		tries[0].Answer != nil || tries[0].Confirmation != nil {
		t.Errorf("tries: %+v", tries)
	}

	must(t, "close", db.Mailboxes.CloseMailbox(ctx, box))
	must(t, "close again", db.Mailboxes.CloseMailbox(ctx, box))
	must(t, "close an unknown mailbox", db.Mailboxes.CloseMailbox(ctx, "BBB-BBB"))
	m, err = db.Mailboxes.Mailbox(ctx, box)
	must(t, "read", err)
	equal(t, "closed", m.Closed, true)
	_, err = db.Mailboxes.AddTry(ctx, box, attempt(2, "late"), 3)
	is(t, "try at a closed mailbox", err, mailboxes.ErrClosed)
	is(t, "answer at a closed mailbox", db.Mailboxes.SetStep(ctx, box, mailboxes.StepMessage{
		Number: 1,
		Step:   mailboxes.StepAnswer, Body: []byte("a"),
	}, nil), mailboxes.ErrTryNotFound)
	tries, err = db.Mailboxes.Tries(ctx, box)
	must(t, "tries", err)
	equal(t, "messages kept", len(tries), 0)
}

// mailboxesAreBounded checks the bounds on the mailboxes of one owner, also with concurrent
// requests.
func mailboxesAreBounded(t *testing.T, db *database.Database) {
	ctx := t.Context()
	admit(t, db, 1)
	limit := mailboxes.Limit{Open: 2, Kept: 4}
	name := func(i int) ident.Address { return ident.Address(fmt.Sprintf("AAA-AA%c", 'A'+i)) }
	for i := range 2 {
		must(t, "create", db.Mailboxes.CreateMailbox(ctx, mailbox(name(i), 1), limit))
	}
	is(t, "a third open mailbox", db.Mailboxes.CreateMailbox(ctx, mailbox(name(2), 1), limit), mailboxes.ErrLimit)
	must(t, "a mailbox of another owner", db.Mailboxes.CreateMailbox(ctx, mailbox(name(3), 2), limit))
	must(t, "close", db.Mailboxes.CloseMailbox(ctx, name(0)))
	must(t, "another after one was closed", db.Mailboxes.CreateMailbox(ctx, mailbox(name(4), 1), limit))

	later := mailbox(name(5), 1)
	later.Created, later.Expires = start.Add(time.Minute), start.Add(2*time.Minute)
	must(t, "another after the others expired", db.Mailboxes.CreateMailbox(ctx, later, limit))
	later.Address = name(6)
	is(t, "one beyond those kept", db.Mailboxes.CreateMailbox(ctx, later, limit), mailboxes.ErrLimit)

	ok, failed := race(20, func(i int) error {
		return db.Mailboxes.CreateMailbox(ctx, mailbox(ident.Address(fmt.Sprintf("BBB-BB%c", 'A'+i)), 1),
			mailboxes.Limit{Open: 1000, Kept: 9})
	})
	equal(t, "concurrent requests that succeeded", ok, 5)
	for _, err := range failed {
		is(t, "a concurrent request", err, mailboxes.ErrLimit)
	}
}

// concurrentTriesAreBounded checks that a mailbox accepts three tries, however many arrive at the same
// time.
func concurrentTriesAreBounded(t *testing.T, db *database.Database) {
	ctx := t.Context()
	must(t, "create", db.Mailboxes.CreateMailbox(ctx, mailbox(box, 1), roomy))
	ok, failed := race(20, func(i int) error {
		_, err := db.Mailboxes.AddTry(ctx, box, attempt(i, fmt.Sprint("opening ", i)), 3)
		return err
	})
	equal(t, "tries", ok, 3)
	for _, err := range failed {
		is(t, "a further try", err, mailboxes.ErrBurned)
	}
	tries, err := db.Mailboxes.Tries(ctx, box)
	must(t, "tries", err)
	equal(t, "kept", len(tries), 3)
	for i, got := range tries {
		equal(t, "number", got.Number, i+1)
		equal(t, "opening", string(got.Opening), fmt.Sprint("opening ", indexOf(got.Peer)))
	}
}

// indexOf returns the number of a peer, or -1.
func indexOf(p ident.PeerID) int {
	for i := range 20 {
		if id(i) == p {
			return i
		}
	}
	return -1
}

// repeatedTryIsTheSame checks that the same opening by the same peer is the same try.
func repeatedTryIsTheSame(t *testing.T, db *database.Database) {
	ctx := t.Context()
	must(t, "create", db.Mailboxes.CreateMailbox(ctx, mailbox(box, 1), roomy))
	ok, failed := race(10, func(int) error {
		n, err := db.Mailboxes.AddTry(ctx, box, attempt(2, "same"), 3)
		if err == nil && n != 1 {
			err = fmt.Errorf("number %d", n)
		}
		return err
	})
	if ok != 10 {
		t.Errorf("a repeated try: %v", failed)
	}
	n, err := db.Mailboxes.AddTry(ctx, box, attempt(2, "different"), 3)
	must(t, "another opening", err)
	equal(t, "number", n, 2)
	n, err = db.Mailboxes.AddTry(ctx, box, attempt(3, "same"), 3)
	must(t, "another peer", err)
	equal(t, "number", n, 3)
	n, err = db.Mailboxes.AddTry(ctx, box, attempt(2, "different"), 3)
	must(t, "the same after the last try", err)
	equal(t, "number", n, 2)
}

// stepsAreOrdered checks that the messages of a try are accepted in order, and that each may
// be repeated but not replaced.
func stepsAreOrdered(t *testing.T, db *database.Database) {
	ctx := t.Context()
	must(t, "create", db.Mailboxes.CreateMailbox(ctx, mailbox(box, 1), roomy))
	paired := event(audit.KindPaired)
	set := func(step mailboxes.Step, body string) error {
		var e *audit.Event
		if step == mailboxes.StepConfirmation {
			e = &paired
		}
		return db.Mailboxes.SetStep(ctx, box, mailboxes.StepMessage{Number: 1, Step: step, Body: []byte(body)}, e)
	}
	is(t, "answer to an unknown try", set(mailboxes.StepAnswer, "a"), mailboxes.ErrTryNotFound)
	_, err := db.Mailboxes.AddTry(ctx, box, attempt(2, "o"), 3)
	must(t, "try", err)
	is(t, "confirmation before the answer", set(mailboxes.StepConfirmation, "c"), mailboxes.ErrTryState)
	is(t, "answer", set(mailboxes.StepAnswer, "a"), nil)
	is(t, "answer again", set(mailboxes.StepAnswer, "a"), nil)
	is(t, "another answer", set(mailboxes.StepAnswer, "b"), mailboxes.ErrTryState)
	is(t, "confirmation", set(mailboxes.StepConfirmation, "c"), nil)
	is(t, "confirmation again", set(mailboxes.StepConfirmation, "c"), nil)
	is(t, "another confirmation", set(mailboxes.StepConfirmation, "d"), mailboxes.ErrTryState)
	tries, err := db.Mailboxes.Tries(ctx, box)
	must(t, "tries", err)
	if len(tries) != 1 || string(tries[0].Answer) != "a" || string(tries[0].Confirmation) != "c" {
		t.Errorf("tries: %+v", tries)
	}
	equal(t, "events", len(events(t, db)), 1)
}

// mailboxExpires checks that a mailbox accepts tries until just before it expires.
func mailboxExpires(t *testing.T, db *database.Database) {
	ctx := t.Context()
	must(t, "create", db.Mailboxes.CreateMailbox(ctx, mailbox(box, 1), roomy))
	try := attempt(2, "o")
	try.Made = start.Add(time.Minute)
	_, err := db.Mailboxes.AddTry(ctx, box, try, 3)
	is(t, "when it expires", err, mailboxes.ErrExpired)
	try.Made = start.Add(time.Minute - time.Millisecond)
	_, err = db.Mailboxes.AddTry(ctx, box, try, 3)
	is(t, "just before it expires", err, nil)
}
