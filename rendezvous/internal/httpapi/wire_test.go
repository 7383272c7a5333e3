//go:build unix

package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/httpapi"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/services"
)

// openAPI is the part of the OpenAPI document that the tests read.
type openAPI struct {
	OpenAPI string `json:"openapi"`
	Info    struct{ Description, Version string }
	Paths   map[string]map[string]struct {
		OperationID string `json:"operationId"`
		Description string
		Security    []map[string][]string
		Responses   map[string]struct{ Content, Headers map[string]any }
	}
	Components struct {
		Schemas map[string]struct {
			AdditionalProperties any
			Properties           map[string]schema
		}
	}
}

type schema struct {
	Type      any
	Format    string
	Ref       string `json:"$ref"`
	Enum      []string
	Examples  []any
	MaxLength *int
	MaxItems  *int
	Maximum   *float64
	Items     *schema
}

func TestOpenAPIListsEveryRouteAndError(t *testing.T) {
	b := newBench(t, sqlite(t), nil)
	a := b.get(api.PathOpenAPI, "")
	var doc openAPI
	if err := json.Unmarshal(a.body, &doc); err != nil || a.status != http.StatusOK {
		t.Fatalf("status %d: %v", a.status, err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") || doc.Info.Version != "1.2.3" {
		t.Errorf("OpenAPI %s of version %s", doc.OpenAPI, doc.Info.Version)
	}
	ids := map[string]bool{}
	operations := 0
	for _, methods := range doc.Paths {
		operations += len(methods)
	}
	if operations != len(api.Routes) {
		t.Errorf("%d operations, want %d", operations, len(api.Routes))
	}
	for _, r := range api.Routes {
		op, ok := doc.Paths[r.Path][strings.ToLower(r.Method)]
		if !ok {
			t.Errorf("%s %s is not in the document", r.Method, r.Path)
			continue
		}
		if ids[op.OperationID] || op.OperationID == "" {
			t.Errorf("%s %s: operation ID %q", r.Method, r.Path, op.OperationID)
		}
		ids[op.OperationID] = true
		if _, ok := op.Responses[strconv.Itoa(r.Status)]; !ok {
			t.Errorf("%s %s: no response %d", r.Method, r.Path, r.Status)
		}
		if (r.Auth == api.AuthNone) != (len(op.Security) == 0) {
			t.Errorf("%s %s: security %v, want %q", r.Method, r.Path, op.Security, r.Auth)
		}
		for status, response := range op.Responses {
			if n, err := strconv.Atoi(status); err == nil && n >= 400 && response.Content[api.ContentType] == nil {
				t.Errorf("%s %s: response %s is not a problem", r.Method, r.Path, status)
			}
			if waits := response.Headers["Retry-After"] != nil; waits != (status == "429" || status == "503") {
				t.Errorf("%s %s: response %s with Retry-After %v", r.Method, r.Path, status, waits)
			}
		}
	}
	for _, k := range api.ProblemTypes {
		if !slices.Contains(doc.Components.Schemas["Problem"].Properties["code"].Enum, string(k.Code)) {
			t.Errorf("code %s is not in the schema of Problem", k.Code)
		}
		if !strings.Contains(doc.Info.Description, "| `"+string(k.Code)+"` | "+strconv.Itoa(k.Status)+" |") {
			t.Errorf("code %s is not in the table", k.Code)
		}
		used := false
		for _, methods := range doc.Paths {
			for _, op := range methods {
				used = used || strings.Contains(op.Description, "`"+string(k.Code)+"`")
			}
		}
		if !used {
			t.Errorf("no operation lists code %s", k.Code)
		}
	}
}

func TestEveryFieldIsBounded(t *testing.T) {
	b := newBench(t, sqlite(t), nil)
	var doc openAPI
	if err := json.Unmarshal(b.get(api.PathOpenAPI, "").body, &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Components.Schemas) < 10 {
		t.Fatalf("only %d schemas", len(doc.Components.Schemas))
	}
	for name, s := range doc.Components.Schemas {
		if s.AdditionalProperties != false {
			t.Errorf("%s accepts unknown fields", name)
		}
		for field, p := range s.Properties {
			if !bounded(p) {
				t.Errorf("%s.%s has no bound: %+v", name, field, p)
			}
		}
	}
	for field, want := range map[string]int{
		"Registration.name": api.MaxName, "Registration.invite": api.MaxInvite, "InviteRequest.label": api.MaxLabel,
		"Message.body": api.MaxMessageText, "Registered.token": api.MaxToken,
	} {
		name, property, _ := strings.Cut(field, ".")
		if got := doc.Components.Schemas[name].Properties[property].MaxLength; got == nil || *got != want {
			t.Errorf("%s: bound %v, want %d", field, got, want)
		}
	}
}

// TestExamplesAreValid: every field has an example, and no request that consists of the
// examples is refused for its form.
func TestExamplesAreValid(t *testing.T) {
	b := newBench(t, sqlite(t), nil)
	var doc openAPI
	if err := json.Unmarshal(b.get(api.PathOpenAPI, "").body, &doc); err != nil {
		t.Fatal(err)
	}
	for name, s := range doc.Components.Schemas {
		for field, p := range s.Properties {
			if len(p.Examples) == 0 && p.Ref == "" && (p.Items == nil || p.Items.Ref == "") {
				t.Errorf("%s.%s has no example", name, field)
			}
		}
	}
	peer, admin := b.join(1).token, b.admin(api.ScopeAdmin)
	for _, c := range []struct {
		method, path, token, schema string
		status                      int
	}{
		{http.MethodPost, api.PathPeers, "", "Registration", http.StatusUnauthorized}, // the challenge was not issued
		{http.MethodPatch, api.PathSelf, peer, "PeerChange", http.StatusOK},
		{http.MethodPost, api.TriesPath("2D2-D23"), peer, "Message", http.StatusNotFound},
		{http.MethodPost, api.PathAdminLink, "", "AdminLinkUse", http.StatusForbidden},
		{http.MethodPost, api.PathTokens, admin, "AdminTokenRequest", http.StatusCreated},
		{http.MethodPost, api.PathInvites, admin, "InviteRequest", http.StatusCreated},
	} {
		body := map[string]any{}
		for field, p := range doc.Components.Schemas[c.schema].Properties {
			body[field] = p.Examples[0]
		}
		if a := b.do(c.method, c.path, c.token, body); a.status != c.status {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, a.status, a.body, c.status)
		}
	}
}

func bounded(s schema) bool {
	switch kind, _ := s.Type.(string); kind {
	case "string":
		return s.MaxLength != nil || s.Format == "date-time"
	case "integer":
		return s.Maximum != nil
	case "array":
		return s.MaxItems != nil && (bounded(*s.Items) || s.Items.Ref != "")
	case "boolean":
		return true
	}
	return s.Ref != ""
}

func TestDocsPageLoadsNothing(t *testing.T) {
	b := newBench(t, sqlite(t), nil)
	a := b.get(api.PathDocs, "")
	page := string(a.body)
	if a.status != http.StatusOK || !strings.Contains(page, api.PathConfirmation) ||
		!strings.Contains(page, string(api.CodeMailboxBurned)) {
		t.Errorf("status %d: %.200s", a.status, page)
	}
	for _, foreign := range []string{"http://", "https://", "<script", "src=", "@import"} {
		if strings.Contains(page, foreign) {
			t.Errorf("the page contains %q", foreign)
		}
	}
	if !strings.HasPrefix(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("policy %q", a.header.Get("Content-Security-Policy"))
	}
}

// TestNothingIsEchoed sends a secret in every place that a client can fill in wrongly. No
// answer may contain it.
func TestNothingIsEchoed(t *testing.T) {
	const secret, patch = "hunter2hunter2", http.MethodPatch
	b := newBench(t, sqlite(t), nil)
	p := b.join(1)
	for name, c := range map[string]struct {
		method, path string
		body         string
		code         api.Code
	}{
		"not JSON":            {http.MethodPost, api.PathPeers, secret, api.CodeMalformed},
		"another type":        {http.MethodPost, api.PathPeers, `"` + secret + `"`, api.CodeInvalid},
		"an unknown field":    {patch, api.PathSelf, `{"name":"a","secret value":"` + secret + `"}`, api.CodeInvalid},
		"a secret as a field": {patch, api.PathSelf, `{"name":"a","` + secret + ` ":1}`, api.CodeInvalid},
		"not base64": {
			http.MethodPost, api.PathPeers,
			`{"challenge":"` + secret + `!","public_key":"","name":"","expires":"` + secret + `","signature":""}`,
			api.CodeInvalid,
		},
		"a wrong time": {
			http.MethodPost, api.PathPeers,
			`{"challenge":"AAAA","public_key":"` + strings.Repeat("A", 43) + `=","name":"a","expires":"` + secret +
				`","signature":"` + strings.Repeat("A", 86) + `=="}`,
			api.CodeInvalid,
		},
		"a long name":       {patch, api.PathSelf, `{"name":"` + strings.Repeat(secret, 10) + `"}`, api.CodeInvalid},
		"a name of numbers": {patch, api.PathSelf, `{"name":["` + secret + `"]}`, api.CodeInvalid},
		"a peer":            {http.MethodGet, api.PathPeers + "/" + secret, "", api.CodeInvalid},
		"an address":        {http.MethodGet, api.PathMailboxes + "/" + secret + "/tries", "", api.CodeInvalid},
		"a number":          {http.MethodGet, api.PathMailboxes + "/AAA-AAA/tries/" + secret, "", api.CodeInvalid},
		"a wait":            {http.MethodGet, api.PathMailboxes + "/AAA-AAA/tries?wait=" + secret, "", api.CodeInvalid},
		"a long wait":       {http.MethodGet, api.PathMailboxes + "/AAA-AAA/tries?wait=3600", "", api.CodeInvalid},
		"a parameter":       {http.MethodGet, api.PathServer + "?token=" + secret, "", api.CodeInvalid},
		"an unknown path":   {http.MethodGet, "/v1/" + secret, "", api.CodeNoRoute},
		"an unknown method": {http.MethodDelete, api.PathServer, "", api.CodeMethod},
		"too large":         {patch, api.PathSelf, `{"name":"` + strings.Repeat(secret, 2000) + `"}`, api.CodeTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			var body any
			if c.body != "" {
				body = []byte(c.body)
			}
			a := b.do(c.method, c.path, p.token, body)
			refused(t, name, a, c.code)
			if strings.Contains(string(a.body), secret) {
				t.Errorf("the answer contains the secret: %s", a.body)
			}
		})
	}
}

func TestOtherMediaTypesAreRefused(t *testing.T) {
	b := newBench(t, sqlite(t), nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.server.URL+api.PathPeers,
		strings.NewReader("name=a"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	refused(t, "a form", b.send(req), api.CodeMediaType)
}

func TestServerAndRelay(t *testing.T) {
	b := newBench(t, sqlite(t), nil)
	s := as[api.Server](t, b.get(api.PathServer, ""), http.StatusOK)
	if s.Name != "test" || s.SignalALPN != api.SignalALPN || !s.Open || len(s.STUN) != 1 || s.TURN == nil {
		t.Errorf("server %+v", s)
	}
	refused(t, "without a token", b.post(api.PathRelay, "", nil), api.CodeUnauthenticated)
	p := b.join(1)
	c := as[api.RelayCredentials](t, b.post(api.PathRelay, p.token, nil), http.StatusCreated)
	if c.Username != "for "+p.id.String() {
		t.Errorf("credentials %+v", c)
	}
	without := newBench(t, sqlite(t), func(_ *services.Config, hc *httpapi.Config) { hc.Relay = nil })
	refused(t, "no relay", without.post(api.PathRelay, without.join(1).token, nil), api.CodeRelayUnavailable)
}

func TestHealthNamesFailedChecks(t *testing.T) {
	var failing error
	b := newBench(t, sqlite(t), func(_ *services.Config, hc *httpapi.Config) {
		hc.Ready = []httpapi.Check{{Name: "lease", Check: func(context.Context) error { return failing }}}
	})
	if a := b.get(api.PathLive, ""); a.status != http.StatusOK {
		t.Errorf("live: %d %s", a.status, a.body)
	}
	if a := b.get(api.PathReady, ""); a.status != http.StatusOK || string(a.body) != "database: ok\nlease: ok\n" {
		t.Errorf("ready: %d %s", a.status, a.body)
	}
	failing = errors.New("a secret reason")
	if a := b.get(api.PathReady, ""); a.header.Get("Retry-After") == "" ||
		a.status != http.StatusServiceUnavailable ||
		string(a.body) != "database: ok\nlease: failed\n" {
		t.Errorf("not ready: %d %s", a.status, a.body)
	}
	a := b.do(http.MethodGet, api.PathReady, "", nil, "Accept", "application/json")
	want := `{"ready":false,"checks":{"database":"ok","lease":"failed"}}` + "\n"
	if a.status != http.StatusServiceUnavailable || string(a.body) != want {
		t.Errorf("not ready, as JSON: %d %s", a.status, a.body)
	}
}

// TestRequestsFailCleanlyWithoutDatabase: a request that needs the database is answered
// with 503 and Retry-After.
func TestRequestsFailCleanlyWithoutDatabase(t *testing.T) {
	db := sqlite(t)
	db.Peers, db.Secrets = offlineStore{db.Peers}, offlineStore{}
	b := newBench(t, db, nil)
	for _, a := range []answer{
		b.post(api.PathChallenges, "", nil),
		b.get(api.PathPeers+"/self", "ef_"+strings.Repeat("A", 54)),
	} {
		refused(t, "without a database", a, api.CodeUnavailable)
		if a.header.Get("Retry-After") == "" {
			t.Error("there is no Retry-After")
		}
		if strings.Contains(string(a.body), "secret reason") {
			t.Errorf("the answer contains the reason: %s", a.body)
		}
	}
	if a := b.get(api.PathServer, ""); a.status != http.StatusOK {
		t.Errorf("a request that needs no database: %d", a.status)
	}
}

// offlineStore is a store that cannot reach its database.
type offlineStore struct{ peers.Store }

var errOffline = errors.Join(registry.ErrUnavailable, errors.New("a secret reason"))

func (offlineStore) Secret(context.Context, string, []byte) ([]byte, error) { return nil, errOffline }

func (offlineStore) PeerByToken(context.Context, registry.TokenPrefix) (peers.Peer, error) {
	return peers.Peer{}, errOffline
}
