package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/mailboxes"
)

// mailboxGone lists the reasons why a mailbox cannot be used.
var mailboxGone = []api.Code{api.CodeMailboxNotFound, api.CodeMailboxExpired, api.CodeMailboxClosed}

// MailboxParam is a mailbox in the URL path.
type MailboxParam struct {
	Address string `path:"address" maxLength:"32" doc:"an EasyFind address"`
}

func (in MailboxParam) address() (ident.Address, error) {
	a, err := ident.ParseAddress(in.Address)
	if err != nil {
		return a, invalid("path.address", "not an EasyFind address: a character is missing or mistyped")
	}
	return a, nil
}

// TryParam is a try in the URL path.
type TryParam struct {
	MailboxParam
	Number int `path:"number" minimum:"1" maximum:"3"`
}

// WaitQuery is the time that a request waits for something that does not exist yet.
type WaitQuery struct {
	Wait int `query:"wait" minimum:"0" maximum:"25" doc:"seconds to wait for it"`
}

func (in WaitQuery) wait() time.Duration { return time.Duration(in.Wait) * time.Second }

// mailboxHandler opens and closes pairing mailboxes.
type mailboxHandler struct{ mailboxes Mailboxes }

func (h *mailboxHandler) mount(e *endpoints) {
	mount(e, http.MethodPost, api.PathMailboxes, operation{
		id: "open-mailbox", summary: "Open a pairing mailbox", codes: []api.Code{api.CodeMailboxLimit},
	}, h.open)
	mount(e, http.MethodDelete, api.PathMailbox, operation{
		id: "close-mailbox", summary: "Close a mailbox and end its pairing", codes: []api.Code{api.CodeMailboxNotFound},
	}, h.close)
}

func (h *mailboxHandler) open(ctx context.Context, _ *empty) (*output[api.Mailbox], error) {
	m, err := h.mailboxes.OpenMailbox(ctx, caller(ctx))
	return &output[api.Mailbox]{
		api.Mailbox{Address: m.Address, Expires: m.Expires.UTC(), Tries: api.MaxTries},
	}, err
}

func (h *mailboxHandler) close(ctx context.Context, in *MailboxParam) (*empty, error) {
	a, err := in.address()
	if err != nil {
		return nil, err
	}
	return nil, h.mailboxes.CloseMailbox(ctx, caller(ctx), a)
}

// tryHandler carries the messages of the tries at a mailbox.
type tryHandler struct {
	tries  Tries
	limits *sourceLimits
}

func (h *tryHandler) mount(e *endpoints) {
	tryGone := []api.Code{api.CodeTryNotFound, api.CodeMailboxExpired, api.CodeMailboxClosed}
	mount(e, http.MethodPost, api.PathTries, operation{
		id: "try", summary: "Begin a pairing with the owner of a mailbox",
		codes: slices.Concat(withBody, mailboxGone, []api.Code{
			api.CodeMailboxBurned, api.CodeMailboxOwn, api.CodeRateLimited,
		}),
		guards: huma.Middlewares{e.guards.limited(h.limits.tries)},
	}, h.try)
	mount(e, http.MethodGet, api.PathTries, operation{
		id: "list-tries", summary: "List the tries at the caller's mailbox; waits for the first one",
		codes: mailboxGone,
	}, h.list)
	mount(e, http.MethodGet, api.PathTry, operation{
		id: "get-try", summary: "Get a try; waits for the next message of the other side", codes: tryGone,
	}, h.get)
	mount(e, http.MethodPut, api.PathAnswer, operation{
		id: "answer", summary: "Answer a try",
		codes: slices.Concat(withBody, mailboxGone, []api.Code{api.CodeTryNotFound, api.CodeTryState}),
	}, h.answer)
	mount(e, http.MethodPut, api.PathConfirmation, operation{
		id: "confirm", summary: "Confirm a try", codes: slices.Concat(withBody, tryGone, []api.Code{api.CodeTryState}),
	}, h.confirm)
}

type openingInput struct {
	MailboxParam
	Body api.Message
}

func (h *tryHandler) try(ctx context.Context, in *openingInput) (*output[api.Try], error) {
	a, err := in.address()
	if err != nil {
		return nil, err
	}
	// Guessers who use very many sources do not exceed the limit of any source. An
	// address has 25 bits, and each guess that hits a mailbox costs its owner one of
	// three tries. So the misses of all sources together are limited too.
	everybody := netip.Prefix{}
	misses := h.limits.misses
	if wait := misses.waitOf(ctx, everybody, caller(ctx)); wait > 0 {
		return nil, tooMany(wait)
	}
	t, err := h.tries.Try(ctx, caller(ctx), a, in.Body.Body)
	if errors.Is(err, mailboxes.ErrNotFound) {
		misses.limiter.Take(everybody, misses.now())
	}
	return &output[api.Try]{wireTry(t)}, err
}

func wireTry(t mailboxes.Try) api.Try {
	return api.Try{Number: t.Number, Peer: t.Peer, Opening: t.Opening, Answer: t.Answer, Confirmation: t.Confirmation}
}

type triesInput struct {
	MailboxParam
	WaitQuery
	After int `query:"after" minimum:"0" maximum:"3" doc:"only tries with a higher number"`
}

func (h *tryHandler) list(ctx context.Context, in *triesInput) (*output[api.Tries], error) {
	a, err := in.address()
	if err != nil {
		return nil, err
	}
	tries, err := h.tries.Tries(ctx, caller(ctx), a, in.After, in.wait())
	list := api.Tries{Tries: []api.Try{}}
	for _, t := range tries {
		list.Tries = append(list.Tries, wireTry(t))
	}
	return &output[api.Tries]{list}, err
}

type oneTryInput struct {
	TryParam
	WaitQuery
}

func (h *tryHandler) get(ctx context.Context, in *oneTryInput) (*output[api.Try], error) {
	a, err := in.address()
	if err != nil {
		return nil, err
	}
	t, err := h.tries.AwaitTry(ctx, caller(ctx), mailboxes.TryRef{Mailbox: a, Number: in.Number}, in.wait())
	return &output[api.Try]{wireTry(t)}, err
}

type messageInput struct {
	TryParam
	Body api.Message
}

func (h *tryHandler) answer(ctx context.Context, in *messageInput) (*empty, error) {
	a, err := in.address()
	if err != nil {
		return nil, err
	}
	return nil, h.tries.Answer(ctx, caller(ctx), mailboxes.TryRef{Mailbox: a, Number: in.Number}, in.Body.Body)
}

func (h *tryHandler) confirm(ctx context.Context, in *messageInput) (*empty, error) {
	a, err := in.address()
	if err != nil {
		return nil, err
	}
	return nil, h.tries.Confirm(ctx, caller(ctx), mailboxes.TryRef{Mailbox: a, Number: in.Number}, in.Body.Body)
}
