//go:build unix

package httpapi_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/proto/api"
)

// check checks that the OpenAPI document lists an answer for the operation: its status,
// its media type, and the code if it is a problem. The harness calls it for the answers of
// every test.
func (d openAPI) check(t *testing.T, req *http.Request, a answer) {
	t.Helper()
	path, ok := operationOf(req)
	if !ok {
		return
	}
	op := d.Paths[path][strings.ToLower(req.Method)]
	response, ok := op.Responses[strconv.Itoa(a.status)]
	kind, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	if _, typed := response.Content[kind]; !ok || kind != "" && !typed || kind == "" && len(response.Content) > 0 {
		t.Errorf("the document does not list the answer of %s %s: %d %s: %s", req.Method, path, a.status, kind, a.body)
	}
	if kind != api.ContentType {
		return
	}
	var p api.Problem
	if err := json.Unmarshal(a.body, &p); err != nil || !strings.Contains(op.Description, "`"+string(p.Code)+"`") {
		t.Errorf("the document does not list the code of %s %s: %s (%v)", req.Method, path, p.Code, err)
	}
}

// operationOf returns the operation that a request matches. If it matches several, the
// operation with the fewest parameters wins.
func operationOf(req *http.Request) (path string, found bool) {
	segments := strings.Split(req.URL.EscapedPath(), "/")
	for _, r := range api.Routes {
		pattern := strings.Split(r.Path, "/")
		fits := r.Method == req.Method && len(pattern) == len(segments)
		for i := 0; fits && i < len(pattern); i++ {
			fits = pattern[i] == segments[i] || strings.HasPrefix(pattern[i], "{") && segments[i] != ""
		}
		if fits && (!found || strings.Count(r.Path, "{") < strings.Count(path, "{")) {
			path, found = r.Path, true
		}
	}
	return path, found
}

func TestBodyMustBeJSON(t *testing.T) {
	b := newBench(t, sqlite(t), nil)
	p := b.join(1)
	rename := func(body, kind string) answer {
		return b.patch(api.PathSelf, p.token, []byte(body), "Content-Type", kind)
	}
	const good, json = `{"name":"a"}`, "application/json"
	for name, c := range map[string]struct {
		body, kind string
		code       api.Code // "" if the body is accepted
	}{
		"good":              {good, json, ""},
		"a charset":         {good, "Application/JSON; charset=UTF-8", ""},
		"the largest size":  {good + strings.Repeat(" ", api.MaxBody-len(good)), json, ""},
		"one byte more":     {good + strings.Repeat(" ", api.MaxBody-len(good)+1), json, api.CodeTooLarge},
		"no Content-Type":   {good, "", api.CodeMediaType},
		"text":              {good, "text/plain", api.CodeMediaType},
		"another JSON type": {good, "application/merge-patch+json", api.CodeMediaType},
		"another charset":   {good, "application/json; charset=iso-8859-1", api.CodeMediaType},
		"no media type":     {good, "json", api.CodeMediaType},
		"not UTF-8":         {"{\"name\":\"\xff\"}", json, api.CodeMalformed},
		"an empty body":     {"", json, api.CodeMalformed},
		"two values":        {good + good, json, api.CodeMalformed},
		"cut off":           {good[:5], json, api.CodeMalformed},
		"capitals":          {`{"Name":"a"}`, json, api.CodeInvalid},
		"a second spelling": {
			`{"name":"a","NAME":"` + strings.Repeat("x", api.MaxName+1) + `"}`, json, api.CodeInvalid,
		},
	} {
		a := rename(c.body, c.kind)
		switch {
		case c.code != "":
			refused(t, name, a, c.code)
		case a.status != http.StatusOK:
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

// TestBrokenTransferIsMalformed: the client or the network is at fault, not the server.
func TestBrokenTransferIsMalformed(t *testing.T) {
	a := newBench(t, sqlite(t), nil).rawRename("Transfer-Encoding: chunked\r\n\r\nno length\r\n")
	refused(t, "a broken chunk", a, api.CodeMalformed)
}

// TestStalledBodyTimesOut takes as long as the server waits for a body: 5 seconds.
func TestStalledBodyTimesOut(t *testing.T) {
	a := newBench(t, sqlite(t), nil).rawRename("Content-Length: 100\r\n\r\n{")
	refused(t, "a stalled body", a, api.CodeTimeout)
}

// rawRename registers a peer and renames it with a request whose header ends with rest.
func (b *bench) rawRename(rest string) answer {
	b.t.Helper()
	p := b.join(1)
	transport, _ := b.client.Transport.(*http.Transport)
	conn, err := tls.Dial("tcp", b.server.Listener.Addr().String(), transport.TLSClientConfig)
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	_, err = conn.Write([]byte("PATCH " + api.PathSelf + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + p.token +
		"\r\nContent-Type: application/json\r\n" + rest))
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, raw}
}

func TestAllowHeaderListsMethods(t *testing.T) {
	b := newBench(t, sqlite(t), nil)
	for path, want := range map[string]string{
		api.PathServer: "GET, HEAD", api.PathPeers: "POST", api.PathSelf: "GET, HEAD, PATCH, DELETE",
		api.PathOpenAPI:                       "GET, HEAD",
		api.PathInvites + "/0123456789abcdef": "GET, HEAD, DELETE",
	} {
		a := b.do(http.MethodOptions, path, "", nil)
		refused(t, path, a, api.CodeMethod)
		if got := a.header.Get("Allow"); got != want {
			t.Errorf("%s allows %q, want %q", path, got, want)
		}
	}
	refused(t, "an unknown method at an unknown path", b.do("BREW", "/pot", "", nil), api.CodeNoRoute)
}

func TestHeadIsAnsweredAsGet(t *testing.T) {
	b := newBench(t, sqlite(t), nil)
	for path, want := range map[string]int{
		api.PathLive: http.StatusOK, api.PathReady: http.StatusOK, api.PathServer: http.StatusOK,
		api.PathOpenAPI: http.StatusOK,
		api.PathSelf:    http.StatusUnauthorized, "/pot": http.StatusNotFound,
		api.PathChallenges: http.StatusMethodNotAllowed,
	} {
		if a := b.do(http.MethodHead, path, "", nil); a.status != want || len(a.body) > 0 {
			t.Errorf("%s: %d %q, want %d", path, a.status, a.body, want)
		}
	}
}

// TestInvalidFieldIsNamed covers a field in a header and a field with a large bound.
func TestInvalidFieldIsNamed(t *testing.T) {
	b := newBench(t, sqlite(t), nil)
	token := b.admin(api.ScopeInvites)
	for want, a := range map[api.Field]answer{
		{Location: "header.Idempotency-Key", Message: "expected length <= 64"}: b.do(
			http.MethodPost, api.PathInvites, token, map[string]any{}, "Idempotency-Key",
			strings.Repeat("k", api.MaxIdempotency+1)),
		{Location: "body.uses", Message: "expected number <= 1000000"}: b.do(
			http.MethodPost, api.PathInvites, token, map[string]any{"uses": api.MaxInviteUses + 1}),
	} {
		if p := refused(t, want.Location, a, api.CodeInvalid); len(p.Errors) != 1 || p.Errors[0] != want {
			t.Errorf("%+v, want %+v", p.Errors, want)
		}
	}
}
