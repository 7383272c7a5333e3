package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// waits is how long a client is told to wait before it tries again, with up to
// as much again at random, so that those who were refused together do not come
// back together. A limit knows better itself.
var waits = map[api.Code]time.Duration{
	api.CodeUnavailable:      2 * time.Second,
	api.CodeFull:             time.Minute,
	api.CodeMailboxLimit:     30 * time.Second,
	api.CodeRelayUnavailable: 5 * time.Minute,
}

// problem turns an error into what the client is told. What is in no table is
// logged, and the client learns only that the server failed.
func (s *server) problem(ctx context.Context, err error) *api.Problem {
	var p *api.Problem
	if errors.As(err, &p) {
		return p
	}
	switch {
	case errors.Is(err, registry.ErrName):
		return invalid("body.name", registry.ErrName.Error())
	case errors.Is(err, registry.ErrMessage):
		return invalid("body.body", registry.ErrMessage.Error())
	case errors.Is(err, registry.ErrInviteSpec):
		return invalid("body", registry.ErrInviteSpec.Error())
	case errors.Is(err, registry.ErrTokenSpec):
		return invalid("body", registry.ErrTokenSpec.Error())
	}
	if code, ok := registry.CodeOf(err); ok {
		if code == api.CodeUnavailable || code == api.CodeFull {
			s.cfg.Logger.Error("a request could not be served", "err", err)
		}
		return api.NewProblem(code)
	}
	if ctx.Err() == nil {
		s.cfg.Logger.Error("a request failed", "err", err)
	}
	return api.NewProblem(api.CodeInternal)
}

// refused is problem as an error for huma, which sends the header too.
func (s *server) refused(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	p := s.problem(ctx, err)
	return huma.ErrorWithHeaders(p, problemHeaders(p))
}

func problemHeaders(p *api.Problem) http.Header {
	h := http.Header{}
	after := p.RetryAfter
	if wait := waits[p.Code]; after == 0 && wait > 0 {
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

// invalid is the problem of one field.
func invalid(location, message string) *api.Problem {
	p := api.NewProblem(api.CodeInvalid)
	p.Errors = []api.Field{{Location: location, Message: message}}
	return p
}

// write sends a problem from outside of huma.
func write(w http.ResponseWriter, p *api.Problem) {
	for name, values := range problemHeaders(p) {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", api.ContentType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // who asked has gone: nothing to do
}

// describeErrors makes huma's own errors problems of the table, with bounds as
// people write them: they are whole numbers. These are huma's only switches for
// it, and the process has only one of each.
var describeErrors = sync.OnceFunc(func() {
	// Without this a field may be spelled with capitals, and passes the checks of
	// its bounds beside one that is not.
	huma.ValidateStrictCasing = true
	validation.MsgExpectedMinimumNumber, validation.MsgExpectedMaximumNumber = "expected number >= %.0f", "expected number <= %.0f"
	huma.NewError = func(status int, _ string, errs ...error) huma.StatusError {
		p := api.NewProblem(codeOf(status))
		for _, err := range errs {
			var d huma.ErrorDetailer
			if len(p.Errors) < maxFields && errors.As(err, &d) {
				p.Errors = append(p.Errors, field(d.ErrorDetail()))
			}
		}
		return p
	}
})

const maxFields = 16

func codeOf(status int) api.Code {
	switch {
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

// location is what may be repeated of where a field stands: names as those of
// the interface are, not text. A secret that stands in a name's place is longer,
// and has capitals. The names of headers and of the parts of a path are the
// interface's own.
var location = regexp.MustCompile(`^([a-z0-9_\[\]-]{1,20}(\.[a-z0-9_\[\]-]{1,20}){0,4}|(header|path)\.[A-Za-z-]{1,20})$`)

// field keeps of a detail what says where and what is wrong, and nothing that
// was sent: the value goes, and so does every message that may hold it.
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
