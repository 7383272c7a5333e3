package httpapi

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/easyfind-usb/easyfind/proto/api"
)

// endpoints adds operations to the interface.
type endpoints struct {
	api      huma.API
	guards   *guards
	problems problems
}

// operation describes one route of the interface.
type operation struct {
	route   api.Route
	id      string
	summary string
	codes   []api.Code       // the problems that it may answer with, in addition to commonCodes
	guards  huma.Middlewares // run before the handler
}

// commonCodes are the problems that every operation may answer with.
var commonCodes = []api.Code{api.CodeInvalid, api.CodeNoRoute, api.CodeMethod, api.CodeUnavailable, api.CodeInternal}

// mount adds an operation. The method and the path must be those of one of
// api.Routes.
func mount[In, Out any](
	e *endpoints, method, path string, o operation, handle func(context.Context, *In) (*Out, error),
) {
	i := slices.IndexFunc(api.Routes, func(r api.Route) bool { return r.Method == method && r.Path == path })
	o.route = api.Routes[i]
	huma.Register(e.api, e.describe(o), func(ctx context.Context, in *In) (*Out, error) {
		out, err := handle(ctx, in)
		return out, e.problems.forHuma(ctx, err)
	})
}

// describe returns huma's form of an operation. Guards run in this order: bounded,
// authentication, those of the operation, the check of the body's media type.
func (e *endpoints) describe(o operation) huma.Operation {
	codes := slices.Concat(o.codes, commonCodes)
	guards := o.guards
	if takesBody(o.codes) {
		guards = slices.Concat(guards, huma.Middlewares{e.jsonBody})
	}
	var security []map[string][]string
	switch o.route.Auth {
	case api.AuthPeer:
		codes = append(codes, api.CodeUnauthenticated, api.CodeRateLimited)
		guards = append(huma.Middlewares{e.guards.asPeer}, guards...)
		security = []map[string][]string{{string(api.AuthPeer): {}}}
	case api.AuthAdmin:
		codes = append(codes, api.CodeUnauthenticated, api.CodeAdmin, api.CodeScope, api.CodeRateLimited)
		guards = append(huma.Middlewares{e.guards.asAdmin(o.route.Scope)}, guards...)
		security = []map[string][]string{{string(api.AuthAdmin): {}}}
	case api.AuthNone:
	}
	guards = append(huma.Middlewares{bounded}, guards...)
	var scope string
	if o.route.Scope != "" {
		scope = "Scope: `" + string(o.route.Scope) + "`. "
	}
	names, statuses := listed(codes)
	return huma.Operation{
		OperationID: o.id, Method: o.route.Method, Path: o.route.Path,
		Summary: o.summary, Description: scope + "Errors: " + strings.Join(names, ", ") + ".",
		DefaultStatus: o.route.Status, Errors: statuses, Security: security, Middlewares: guards,
		MaxBodyBytes: api.MaxBody + 1, BodyReadTimeout: bodyTimeout, RejectUnknownQueryParameters: true,
	}
}

// listed returns codes in the order of api.ProblemTypes as Markdown, and their statuses.
func listed(codes []api.Code) (names []string, statuses []int) {
	for _, k := range api.ProblemTypes {
		if !slices.Contains(codes, k.Code) {
			continue
		}
		names = append(names, "`"+string(k.Code)+"` ("+strconv.Itoa(k.Status)+")")
		if !slices.Contains(statuses, k.Status) {
			statuses = append(statuses, k.Status)
		}
	}
	return names, statuses
}

// output is an answer with a body.
type output[T any] struct{ Body T }

// empty is a request or an answer without a body.
type empty struct{}
