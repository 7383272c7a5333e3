//go:build unix

package httpapi_test

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
)

func (b *bench) open(p peer) ident.Address {
	b.t.Helper()
	m := as[api.Mailbox](b.t, b.post(api.PathMailboxes, p.token, nil), http.StatusCreated)
	if m.Tries != api.MaxTries || !m.Expires.Equal(b.clock.Now().Add(api.MailboxTTL)) {
		b.t.Errorf("mailbox %+v", m)
	}
	return m.Address
}

func message(s string) api.Message { return api.Message{Body: []byte(s)} }

func (b *bench) try(p peer, a ident.Address, opening string) answer {
	b.t.Helper()
	return b.post(api.TriesPath(a), p.token, message(opening))
}

// noContent checks that an answer is 204.
func noContent(t *testing.T, what string, a answer) {
	t.Helper()
	if a.status != http.StatusNoContent {
		t.Errorf("%s: %d %s", what, a.status, a.body)
	}
}

func TestPairing(t *testing.T) {
	onBothStores(t, func(t *testing.T, store *database.Database) {
		b := newBench(t, store, nil)
		host, client, stranger := b.join(1), b.join(2), b.join(3)
		box := b.open(host)

		// Each side waits for the other, as real peers do.
		hostDone := make(chan answer, 1)
		go func() { hostDone <- b.get(api.TriesPath(box)+"?wait=20", host.token) }()
		made := as[api.Try](t, b.try(client, ident.Address(box), "opening"), http.StatusCreated)
		if made.Number != 1 || made.Peer != client.id {
			t.Errorf("made %+v", made)
		}
		tries := as[api.Tries](t, <-hostDone, http.StatusOK).Tries
		if len(tries) != 1 || tries[0].Number != 1 || tries[0].Peer != client.id ||
			string(tries[0].Opening) != "opening" ||
			tries[0].Answer != nil {
			t.Fatalf("tries %+v", tries)
		}

		clientDone := make(chan answer, 1)
		go func() { clientDone <- b.get(api.TryPath(box, 1)+"?wait=20", client.token) }()
		refused(t, "confirmed too early", b.put(api.ConfirmationPath(box, 1), client.token, message("c")),
			api.CodeTryState)
		noContent(t, "answer", b.put(api.AnswerPath(box, 1), host.token, message("answer")))
		if got := as[api.Try](t, <-clientDone, http.StatusOK); string(got.Answer) != "answer" ||
			got.Confirmation != nil {
			t.Errorf("the client sees %+v", got)
		}
		go func() { hostDone <- b.get(api.TryPath(box, 1)+"?wait=20", host.token) }()
		noContent(t, "confirmation", b.put(api.ConfirmationPath(box, 1), client.token, message("confirmation")))
		noContent(t, "confirmation again", b.put(api.ConfirmationPath(box, 1), client.token, message("confirmation")))
		if got := as[api.Try](t, <-hostDone, http.StatusOK); string(got.Confirmation) != "confirmation" {
			t.Errorf("the host sees %+v", got)
		}

		// No other peer has access.
		refused(t, "a stranger lists", b.get(api.TriesPath(box), stranger.token), api.CodeMailboxNotFound)
		refused(t, "a stranger reads", b.get(api.TryPath(box, 1), stranger.token), api.CodeTryNotFound)
		refused(t, "a stranger answers", b.put(api.AnswerPath(box, 1), stranger.token, message("x")),
			api.CodeMailboxNotFound)
		refused(t, "a stranger confirms", b.put(api.ConfirmationPath(box, 1), stranger.token, message("x")),
			api.CodeTryNotFound)
		refused(t, "a stranger closes", b.delete(api.MailboxPath(box), stranger.token), api.CodeMailboxNotFound)
		refused(t, "the client closes", b.delete(api.MailboxPath(box), client.token), api.CodeMailboxNotFound)

		noContent(t, "close", b.delete(api.MailboxPath(box), host.token))
		noContent(t, "close again", b.delete(api.MailboxPath(box), host.token))
		refused(t, "a try after closing", b.try(client, box, "late"), api.CodeMailboxClosed)
		refused(t, "reading after closing", b.get(api.TryPath(box, 1), client.token), api.CodeMailboxClosed)
	})
}

func TestMailboxAcceptsThreeTries(t *testing.T) {
	onBothStores(t, func(t *testing.T, store *database.Database) {
		b := newBench(t, store, nil)
		host := b.join(1)
		box := b.open(host)
		refused(t, "the owner itself", b.try(host, box, "x"), api.CodeMailboxOwn)
		for i := range api.MaxTries {
			p := b.join(10 + i)
			if got := as[api.Try](t, b.try(p, box, "guess"), http.StatusCreated); got.Number != i+1 {
				t.Errorf("try %d is number %d", i+1, got.Number)
			}
			if got := as[api.Try](t, b.try(p, box, "guess"), http.StatusCreated); got.Number != i+1 {
				t.Errorf("try %d repeated is number %d", i+1, got.Number)
			}
		}
		p := b.join(20)
		for range 3 {
			refused(t, "a fourth", b.try(p, box, "guess"), api.CodeMailboxBurned)
		}
		if got := as[api.Tries](t, b.get(api.TriesPath(box)+"?after=2", host.token), http.StatusOK).Tries; len(
			got,
		) != 1 ||
			got[0].Number != 3 {
			t.Errorf("after 2: %+v", got)
		}
		// The third try may still succeed.
		noContent(t, "answer the third", b.put(api.AnswerPath(box, 3), host.token, message("a")))
	})
}

func TestMailboxesExpire(t *testing.T) {
	b := newBench(t, sqlite(t), nil)
	host, client := b.join(1), b.join(2)
	box := b.open(host)
	as[api.Try](t, b.try(client, box, "opening"), http.StatusCreated)
	refused(t, "an unknown address", b.try(client, free(t, box), "x"), api.CodeMailboxNotFound)
	refused(t, "a mistyped address", b.post(api.PathMailboxes+"/AAA-AAB/tries", client.token, message("x")),
		api.CodeInvalid)
	refused(t, "no such try", b.get(api.TryPath(box, 2), host.token), api.CodeTryNotFound)
	refused(t, "a try out of bounds", b.get(api.TryPath(box, 4), host.token), api.CodeInvalid)

	for range 3 {
		b.open(host)
	}
	limit := b.post(api.PathMailboxes, host.token, nil)
	refused(t, "a fifth", limit, api.CodeMailboxLimit)
	if limit.header.Get("Retry-After") == "" {
		t.Error("there is no Retry-After")
	}

	b.clock.Move(api.MailboxTTL)
	refused(t, "a try", b.try(client, box, "y"), api.CodeMailboxExpired)
	refused(t, "the tries", b.get(api.TriesPath(box), host.token), api.CodeMailboxExpired)
	refused(t, "a confirmation", b.put(api.ConfirmationPath(box, 1), client.token, message("c")),
		api.CodeMailboxExpired)
	b.open(host)
}

// free returns an address that differs from taken.
func free(t *testing.T, taken ident.Address) ident.Address {
	t.Helper()
	for i := byte(0); ; i++ {
		a, err := ident.NewAddress(bytes.NewReader([]byte{i, 1, 2, 3, 4}))
		if err != nil {
			t.Fatal(err)
		}
		if a != taken {
			return a
		}
	}
}

func TestMessagesAreBounded(t *testing.T) {
	b := newBench(t, sqlite(t), nil)
	host, client := b.join(1), b.join(2)
	box := b.open(host)
	most := bytes.Repeat([]byte{'x'}, api.MaxMessage)
	as[api.Try](t, b.try(client, box, string(most)), http.StatusCreated)
	refused(t, "one byte more", b.try(client, box, string(most)+"x"), api.CodeInvalid)
	refused(t, "an empty message", b.try(client, box, ""), api.CodeInvalid)
	refused(t, "a long answer", b.put(api.AnswerPath(box, 1), host.token, message(string(most)+"xxxx")),
		api.CodeInvalid)
}
