package httpapi

import (
	"bytes"
	_ "embed" // page.html
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/easyfind-usb/easyfind/proto/api"
)

// description configures huma with an OpenAPI document that has no operations yet.
func description(version string) huma.Config {
	components := &huma.Components{
		Schemas: huma.NewMapRegistry("#/components/schemas/", schemaName),
		SecuritySchemes: map[string]*huma.SecurityScheme{
			string(api.AuthPeer):  {Type: "http", Scheme: "bearer", Description: "the token of a registered peer"},
			string(api.AuthAdmin): {Type: "http", Scheme: "bearer", Description: "the token of an administrator"},
		},
	}
	var table strings.Builder
	table.WriteString("Every error is application/problem+json with one of these codes, " +
		"except if the header of the request cannot be read. HEAD is answered like GET, without the body.\n\n" +
		"| code | status | what is wrong | what to do |\n|---|---|---|---|\n")
	for _, t := range api.ProblemTypes {
		fmt.Fprintf(&table, "| `%s` | %d | %s | %s |\n", t.Code, t.Status, t.Means, t.Remedy)
	}
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI:    "3.1.0",
			Info:       &huma.Info{Title: "EasyFind rendezvous", Version: version, Description: table.String()},
			Components: components,
		},
		Formats:                      map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	}
}

// schemaName returns the name of a type in the OpenAPI document. Some types have another
// name in Go than in the document, where names do not change.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	if old, ok := map[string]string{
		"RegisterResult": "Registered", "JoinRequest": "AskingPeer", "JoinRequests": "AskingPeers",
	}[name]; ok {
		return old
	}
	return name
}

// documents holds the rendered documentation of the interface.
type documents struct{ json, html []byte }

//go:embed page.html
var pageTemplate string

func newDocuments(doc *huma.OpenAPI) (documents, error) {
	var d documents
	if err := addExamples(doc.Components.Schemas); err != nil {
		return d, err
	}
	code := doc.Components.Schemas.Map()["Problem"].Properties["code"]
	for _, t := range api.ProblemTypes {
		code.Enum = append(code.Enum, string(t.Code))
	}
	doc.Components.Schemas.Map()["Event"].Properties["kind"].Enum = eventKinds()
	// huma lists one successful status of an operation. This operation has two.
	register := doc.Paths[api.PathPeers].Post
	renewed := *register.Responses[strconv.Itoa(http.StatusCreated)]
	renewed.Description = "The peer was registered already; it has a new token"
	register.Responses[strconv.Itoa(http.StatusOK)] = &renewed
	for _, o := range operations(doc) {
		for _, p := range o.Parameters {
			if p.Name == "Idempotency-Key" {
				p.Schema.Examples = []any{"4c0d8a52-0e55-4b7e-9c6f-1d2f0f4f8a11"}
			}
		}
		if r := o.Responses[strconv.Itoa(http.StatusMethodNotAllowed)]; r != nil {
			r.Headers = map[string]*huma.Param{"Allow": {
				Description: "the methods that this URL path takes", Schema: &huma.Schema{Type: huma.TypeString},
			}}
		}
		for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
			if r := o.Responses[strconv.Itoa(status)]; r != nil {
				r.Headers = map[string]*huma.Param{"Retry-After": {
					Description: "the time to wait in seconds, partly random",
					Schema:      &huma.Schema{Type: huma.TypeInteger},
				}}
			}
		}
	}
	var err error
	if d.json, err = json.Marshal(doc); err != nil {
		return d, fmt.Errorf("OpenAPI document: %w", err)
	}
	page, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return d, fmt.Errorf("documentation page: %w", err)
	}
	var html bytes.Buffer
	data := map[string]any{"Doc": doc, "Types": api.ProblemTypes, "Operations": operations(doc)}
	if err := page.Execute(&html, data); err != nil {
		return d, fmt.Errorf("documentation page: %w", err)
	}
	d.html = html.Bytes()
	return d, nil
}

// operations returns the operations of a document in the order of api.Routes.
func operations(doc *huma.OpenAPI) []*huma.Operation {
	var all []*huma.Operation
	for _, r := range api.Routes {
		item := doc.Paths[r.Path]
		all = append(all, map[string]*huma.Operation{
			http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put,
			http.MethodPatch: item.Patch, http.MethodDelete: item.Delete,
		}[r.Method])
	}
	return all
}

func (d documents) openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/vnd.oai.openapi+json;version=3.1")
	_, _ = w.Write(d.json) // fails only if the client is gone
}

// page serves the documentation as HTML. The page loads no other resource.
func (d documents) page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "+
		"form-action 'none'; frame-ancestors 'none'")
	_, _ = w.Write(d.html) // fails only if the client is gone
}
