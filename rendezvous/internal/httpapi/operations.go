package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/easyfind-usb/easyfind/proto/api"
)

// operation is one route of the interface: its words in the OpenAPI document,
// the codes it may answer with beside those that every route may, and what
// stands before its handler.
type operation struct {
	route   api.Route
	id      string
	summary string
	codes   []api.Code
	guards  huma.Middlewares
}

// everywhere is the codes that any operation may answer with.
var everywhere = []api.Code{api.CodeInvalid, api.CodeNoRoute, api.CodeMethod, api.CodeUnavailable, api.CodeInternal}

// mailboxGone is why a mailbox may not be used.
var mailboxGone = []api.Code{api.CodeMailboxNotFound, api.CodeMailboxExpired, api.CodeMailboxClosed}

// mount adds an operation. The route must be one of api.Routes.
func mount[In, Out any](s *server, method, path string, o operation, handle func(context.Context, *In) (*Out, error)) {
	i := slices.IndexFunc(api.Routes, func(r api.Route) bool { return r.Method == method && r.Path == path })
	o.route = api.Routes[i]
	huma.Register(s.api, s.describe(o), func(ctx context.Context, in *In) (*Out, error) {
		out, err := handle(ctx, in)
		return out, s.refused(ctx, err)
	})
}

func (s *server) describe(o operation) huma.Operation {
	codes := slices.Concat(o.codes, everywhere)
	guards := o.guards
	if takesBody(o.codes) {
		guards = slices.Concat(guards, huma.Middlewares{s.body})
	}
	var security []map[string][]string
	switch o.route.Auth {
	case api.AuthPeer:
		codes = append(codes, api.CodeUnauthenticated, api.CodeRateLimited)
		guards = append(huma.Middlewares{s.asPeer}, guards...)
		security = []map[string][]string{{string(api.AuthPeer): {}}}
	case api.AuthAdmin:
		codes = append(codes, api.CodeUnauthenticated, api.CodeAdmin, api.CodeScope, api.CodeRateLimited)
		guards = append(huma.Middlewares{s.asAdmin(o.route.Scope)}, guards...)
		security = []map[string][]string{{string(api.AuthAdmin): {}}}
	case api.AuthNone:
	}
	guards = append(huma.Middlewares{bounded}, guards...)
	var scope string
	if o.route.Scope != "" {
		scope = "Scope: `" + string(o.route.Scope) + "`. "
	}
	var statuses []int
	var names []string
	for _, k := range api.Kinds { // in the order of the table
		if !slices.Contains(codes, k.Code) {
			continue
		}
		names = append(names, "`"+string(k.Code)+"` ("+strconv.Itoa(k.Status)+")")
		if !slices.Contains(statuses, k.Status) {
			statuses = append(statuses, k.Status)
		}
	}
	return huma.Operation{
		OperationID: o.id, Method: o.route.Method, Path: o.route.Path,
		Summary: o.summary, Description: scope + "Errors: " + strings.Join(names, ", ") + ".",
		DefaultStatus: o.route.Status, Errors: statuses, Security: security, Middlewares: guards,
		MaxBodyBytes: api.MaxBody + 1, RejectUnknownQueryParameters: true,
	}
}

// register adds every operation.
func (s *server) register() {
	s.registerPeers()
	s.registerMailboxes()
	s.registerAdminPeers()
	s.registerApprovals()
	s.registerTokens()
	s.registerInvites()
	s.registerAudit()
	s.registerObserved()
	mount(s, http.MethodGet, api.PathServer, operation{id: "server", summary: "What this rendezvous is and offers"}, s.server)
	mount(s, http.MethodPost, api.PathRelay, operation{
		id: "relay-credentials", summary: "Credentials for the relay, for a while", codes: []api.Code{api.CodeRelayUnavailable},
	}, s.relay)
}

// Output is a body of an answer.
type output[T any] struct{ Body T }

type nothing struct{}
