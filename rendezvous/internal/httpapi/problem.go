package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/danielgtaylor/huma/v2/validation"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/mailboxes"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// retryAfter holds the least time that a client shall wait before it repeats a
// request. A random part of up to the same length is added, so that clients that
// were refused together do not come back together. Rate limits compute their own
// time.
var retryAfter = map[api.Code]time.Duration{
	api.CodeUnavailable:      2 * time.Second,
	api.CodeFull:             time.Minute,
	api.CodeMailboxLimit:     30 * time.Second,
	api.CodeRelayUnavailable: 5 * time.Minute,
}

// problems turns errors into the problems that clients receive.
type problems struct{ logger *slog.Logger }

// of returns the problem of an error. It logs an error that has no code of its
// own; the client then learns only that the server failed.
func (p problems) of(ctx context.Context, err error) *api.Problem {
	var problem *api.Problem
	if errors.As(err, &problem) {
		return problem
	}
	switch {
	case errors.Is(err, peers.ErrName):
		return invalid("body.name", peers.ErrName.Error())
	case errors.Is(err, mailboxes.ErrMessage):
		return invalid("body.body", mailboxes.ErrMessage.Error())
	case errors.Is(err, peers.ErrInviteSpec):
		return invalid("body", peers.ErrInviteSpec.Error())
	case errors.Is(err, administration.ErrTokenSpec):
		return invalid("body", administration.ErrTokenSpec.Error())
	}
	if code, ok := registry.CodeOf(err); ok {
		if code == api.CodeUnavailable || code == api.CodeFull {
			p.logger.Error("cannot serve request", "err", err)
		}
		return api.NewProblem(code)
	}
	if ctx.Err() == nil {
		p.logger.Error("request failed", "err", err)
	}
	return api.NewProblem(api.CodeInternal)
}

// forHuma returns the problem of an error, with its headers, as an error that huma
// can send.
func (p problems) forHuma(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	problem := p.of(ctx, err)
	return huma.ErrorWithHeaders(problem, problemHeaders(problem))
}

// refuse sends the problem of an error, for a guard that does not let a request
// pass.
func (p problems) refuse(ctx huma.Context, err error) {
	_, w := humachi.Unwrap(ctx)
	write(w, p.of(ctx.Context(), err))
}

func problemHeaders(p *api.Problem) http.Header {
	h := http.Header{}
	after := p.RetryAfter
	if wait := retryAfter[p.Code]; after == 0 && wait > 0 {
		after = jittered(wait)
	}
	if after > 0 {
		h.Set("Retry-After", strconv.Itoa(int((after+time.Second-1)/time.Second)))
	}
	if p.Code == api.CodeUnauthenticated {
		h.Set("WWW-Authenticate", "Bearer") // RFC 6750 section 3
	}
	return h
}

func jittered(d time.Duration) time.Duration { return d + rand.N(d+time.Second) }

// invalid returns the problem of one invalid field.
func invalid(location, message string) *api.Problem {
	p := api.NewProblem(api.CodeInvalid)
	p.Errors = []api.Field{{Location: location, Message: message}}
	return p
}

// write sends a problem without huma.
func write(w http.ResponseWriter, p *api.Problem) {
	for name, values := range problemHeaders(p) {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", api.ContentType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // fails only if the client is gone
}

// describeErrors makes huma report its own errors as problems of api.ProblemTypes, and
// print bounds as whole numbers. huma has only global variables for this.
var describeErrors = sync.OnceFunc(func() {
	// By default huma ignores the case of field names, and a second spelling of a
	// field escapes the check of its bounds.
	huma.ValidateStrictCasing = true
	huma.DefaultArrayNullable = false
	validation.MsgExpectedMinimumNumber = "expected number >= %.0f"
	validation.MsgExpectedMaximumNumber = "expected number <= %.0f"
	huma.NewError = func(status int, _ string, errs ...error) huma.StatusError {
		p := api.NewProblem(codeOf(status, errs))
		for _, err := range errs {
			var d huma.ErrorDetailer
			if len(p.Errors) < maxFields && errors.As(err, &d) {
				p.Errors = append(p.Errors, field(d.ErrorDetail()))
			}
		}
		return p
	}
})

const maxFields = 16 // of one problem

// codeOf returns the code of an error of huma.
func codeOf(status int, errs []error) api.Code {
	var transfer transferError
	switch {
	case errors.As(errors.Join(errs...), &transfer):
		return api.CodeMalformed
	case status == http.StatusUnprocessableEntity:
		return api.CodeInvalid
	case status == http.StatusRequestEntityTooLarge:
		return api.CodeTooLarge
	case status == http.StatusUnsupportedMediaType:
		return api.CodeMediaType
	case status == http.StatusRequestTimeout:
		return api.CodeTimeout
	case status >= http.StatusBadRequest && status < http.StatusInternalServerError:
		return api.CodeMalformed
	}
	return api.CodeInternal
}

// location matches the locations of fields that an answer may repeat: names like
// those of the interface. A client may send a secret in place of a name; a secret
// is longer or has capitals and does not match. The names of headers and of path
// parameters come from the interface, so they may have capitals.
var location = regexp.MustCompile(
	`^([a-z0-9_\[\]-]{1,20}(\.[a-z0-9_\[\]-]{1,20}){0,4}|(header|path)\.[A-Za-z-]{1,20})$`)

// field returns the location of a fault and its description. It drops the value,
// and every message that may contain it.
func field(d *huma.ErrorDetail) api.Field {
	f := api.Field{Location: d.Location, Message: "not as the OpenAPI document describes it"}
	if !location.MatchString(f.Location) {
		f.Location, _, _ = strings.Cut(f.Location, ".")
		if !location.MatchString(f.Location) {
			f.Location = "body"
		}
	}
	for _, known := range []string{"expected ", "unexpected property", "required ", "unknown query parameter"} {
		if strings.HasPrefix(d.Message, known) && len(d.Message) <= 256 && f.Location == d.Location {
			f.Message = d.Message
		}
	}
	return f
}
