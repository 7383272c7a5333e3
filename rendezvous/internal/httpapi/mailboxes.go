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
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

func (s *server) registerMailboxes() {
	tryGone := []api.Code{api.CodeTryNotFound, api.CodeMailboxExpired, api.CodeMailboxClosed}
	mount(s, http.MethodPost, api.PathMailboxes, operation{
		id: "open-mailbox", summary: "Open a pairing mailbox", codes: []api.Code{api.CodeMailboxLimit},
	}, s.openMailbox)
	mount(s, http.MethodDelete, api.PathMailbox, operation{
		id: "close-mailbox", summary: "End a pairing", codes: []api.Code{api.CodeMailboxNotFound},
	}, s.closeMailbox)
	mount(s, http.MethodPost, api.PathTries, operation{
		id: "try", summary: "Begin a pairing with the owner of a mailbox",
		codes:  slices.Concat(withBody, mailboxGone, []api.Code{api.CodeMailboxBurned, api.CodeMailboxOwn, api.CodeRateLimited}),
		guards: huma.Middlewares{s.limit(limitTries)},
	}, s.try)
	mount(s, http.MethodGet, api.PathTries, operation{
		id: "list-tries", summary: "The tries of the caller's mailbox, once there are any", codes: mailboxGone,
	}, s.listTries)
	mount(s, http.MethodGet, api.PathTry, operation{
		id: "get-try", summary: "A try, once the other side has said the next thing", codes: tryGone,
	}, s.getTry)
	mount(s, http.MethodPut, api.PathAnswer, operation{
		id: "answer", summary: "Answer a try",
		codes: slices.Concat(withBody, mailboxGone, []api.Code{api.CodeTryNotFound, api.CodeTryState}),
	}, s.answer)
	mount(s, http.MethodPut, api.PathConfirmation, operation{
		id: "confirm", summary: "Confirm a try", codes: slices.Concat(withBody, tryGone, []api.Code{api.CodeTryState}),
	}, s.confirm)
}

// InMailbox is a mailbox in the path. It has a public name, as the two below,
// because huma fills in no embedded struct without one.
type InMailbox struct {
	Address string `path:"address" maxLength:"32" doc:"an EasyFind address"`
}

func (in InMailbox) address() (ident.Address, error) {
	a, err := ident.ParseAddress(in.Address)
	if err != nil {
		return a, invalid("path.address", "not an EasyFind address: a character is missing or mistyped")
	}
	return a, nil
}

// InTry is a try in the path.
type InTry struct {
	InMailbox
	Number int `path:"number" minimum:"1" maximum:"3"`
}

// Waiting is how long to wait for what is not there yet.
type Waiting struct {
	Wait int `query:"wait" minimum:"0" maximum:"25" doc:"seconds to wait for it"`
}

func (in Waiting) wait() time.Duration { return time.Duration(in.Wait) * time.Second }

func (s *server) openMailbox(ctx context.Context, _ *nothing) (*output[api.Mailbox], error) {
	m, err := s.cfg.Registry.OpenMailbox(ctx, caller(ctx))
	return &output[api.Mailbox]{api.Mailbox{Address: m.Address, Expires: m.Expires.UTC(), Tries: api.MaxTries}}, err
}

func (s *server) closeMailbox(ctx context.Context, in *InMailbox) (*nothing, error) {
	a, err := in.address()
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Registry.CloseMailbox(ctx, caller(ctx), a)
}

type openingInput struct {
	InMailbox
	Body api.Message
}

func (s *server) try(ctx context.Context, in *openingInput) (*output[api.Try], error) {
	a, err := in.address()
	if err != nil {
		return nil, err
	}
	// Who guesses from very many sources is still one of few who guess: an
	// address has 25 bits, and each guess at one that is in use costs its owner
	// one of three tries.
	everybody := netip.Prefix{}
	if wait := s.limits[limitMisses].wait(everybody, s.cfg.Now()); wait > 0 {
		s.cfg.Registry.Refused(ctx, limitNames[limitMisses], caller(ctx), registry.ErrLimited)
		return nil, tooMany(wait)
	}
	t, err := s.cfg.Registry.Try(ctx, caller(ctx), a, in.Body.Body)
	if errors.Is(err, registry.ErrMailboxNotFound) {
		s.limits[limitMisses].take(everybody, s.cfg.Now())
	}
	return &output[api.Try]{wireTry(t)}, err
}

func wireTry(t registry.Try) api.Try {
	return api.Try{Number: t.Number, Peer: t.Peer, Opening: t.Opening, Answer: t.Answer, Confirmation: t.Confirmation}
}

type triesInput struct {
	InMailbox
	Waiting
	After int `query:"after" minimum:"0" maximum:"3" doc:"only tries with a higher number"`
}

func (s *server) listTries(ctx context.Context, in *triesInput) (*output[api.Tries], error) {
	a, err := in.address()
	if err != nil {
		return nil, err
	}
	tries, err := s.cfg.Registry.Tries(ctx, caller(ctx), a, in.After, in.wait())
	list := api.Tries{Tries: []api.Try{}}
	for _, t := range tries {
		list.Tries = append(list.Tries, wireTry(t))
	}
	return &output[api.Tries]{list}, err
}

type oneTryInput struct {
	InTry
	Waiting
}

func (s *server) getTry(ctx context.Context, in *oneTryInput) (*output[api.Try], error) {
	a, err := in.address()
	if err != nil {
		return nil, err
	}
	t, err := s.cfg.Registry.AwaitTry(ctx, caller(ctx), a, in.Number, in.wait())
	return &output[api.Try]{wireTry(t)}, err
}

type messageInput struct {
	InTry
	Body api.Message
}

func (s *server) answer(ctx context.Context, in *messageInput) (*nothing, error) {
	a, err := in.address()
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Registry.Answer(ctx, caller(ctx), a, in.Number, in.Body.Body)
}

func (s *server) confirm(ctx context.Context, in *messageInput) (*nothing, error) {
	a, err := in.address()
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Registry.Confirm(ctx, caller(ctx), a, in.Number, in.Body.Body)
}
