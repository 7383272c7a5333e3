package rvclient_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous"
)

// visitor makes HTTP requests over one connection from a chosen source address.
type visitor struct {
	t    *testing.T
	base string
	http *http.Client
}

// visit returns a visitor of the server at host:port. The scheme is http or https.
func visit(t *testing.T, scheme, at, source string) *visitor {
	transport := &http.Transport{
		DialContext: from(source).DialContext, MaxConnsPerHost: 1,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &visitor{t, scheme + "://" + at, &http.Client{Transport: transport, Timeout: waittest.Timeout}}
}

// do makes a request. headers are pairs of name and value. If the server answers
// with a problem, the error is an *api.Problem.
func (v *visitor) do(method, path string, in, out any, headers ...string) (*http.Response, error) {
	v.t.Helper()
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			v.t.Fatal(err)
		}
	}
	req, err := http.NewRequest(method, v.base+path, &body)
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := v.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 == 2 && out != nil {
		err = json.Unmarshal(raw, out)
	} else if res.StatusCode/100 != 2 {
		p := &api.Problem{}
		if json.Unmarshal(raw, p) == nil {
			return res, p
		}
		return res, fmt.Errorf("%s: %s", res.Status, raw)
	}
	return res, err
}

// register registers a key that depends on seed. It returns the binding that the
// challenge demands and uses it for the signature. If origin is not empty, it
// signs for that origin instead.
func (v *visitor) register(seed byte, invite string, origin ident.Origin, headers ...string) (api.Bind, error) {
	v.t.Helper()
	key, err := ident.KeyFromSeed(bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		v.t.Fatal(err)
	}
	var c api.Challenge
	res, err := v.do(http.MethodPost, api.PathChallenges, nil, &c, headers...)
	if err != nil {
		return "", err
	}
	r := api.Registration{
		Challenge: c.Challenge, Name: fmt.Sprintf("visitor %d", seed), Invite: invite,
		Expires: c.Expires.Truncate(time.Second),
	}
	switch {
	case origin != "":
		r.SignForOrigin(key, origin)
	case c.Bind == api.BindOrigin:
		r.SignForOrigin(key, ident.OriginOf(strings.TrimPrefix(v.base, "https://")))
	default:
		exporter, err := api.Exporter(res.TLS)
		if err != nil {
			v.t.Fatal(err)
		}
		r.Sign(key, exporter)
	}
	_, err = v.do(http.MethodPost, api.PathPeers, r, nil, headers...)
	return c.Bind, err
}

// source returns the source address in the audit log for the registration of the
// peer with that name.
func (s *proxiedServer) source(name string) string {
	s.t.Helper()
	v := visit(s.t, "https", s.direct, "127.0.0.90")
	if s.admin == "" {
		link, err := url.Parse(rendezvous.KeptAdminLink(s.data))
		if err != nil {
			s.t.Fatal(err)
		}
		values, err := url.ParseQuery(link.Fragment)
		if err != nil {
			s.t.Fatal(err)
		}
		var token api.AdminToken
		use := api.AdminLinkUse{Code: values.Get("link")}
		if _, err := v.do(http.MethodPost, api.PathAdminLink, use, &token); err != nil {
			s.t.Fatal(err)
		}
		s.admin = token.Token
	}
	var list api.Events
	const path = api.PathAudit + "?kind=registered"
	if _, err := v.do(http.MethodGet, path, nil, &list, "Authorization", "Bearer "+s.admin); err != nil {
		s.t.Fatal(err)
	}
	for _, e := range list.Events {
		if strings.Contains(e.Detail, name) {
			return e.Source
		}
	}
	s.t.Fatalf("no registration of %s in %+v", name, list.Events)
	return ""
}

// invite returns the invite in the join link.
func (s *proxiedServer) invite() string {
	_, fragment, _ := strings.Cut(s.link, "#")
	values, err := url.ParseQuery(fragment)
	if err != nil {
		s.t.Fatal(err)
	}
	return values.Get("invite")
}
