package api_test

import (
	"bytes"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

func signed(t *testing.T, exporter []byte) api.Registration {
	t.Helper()
	key, err := ident.NewKey(bytes.NewReader(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	r := api.Registration{Challenge: []byte("challenge"), Name: "attic", Expires: time.Unix(1_000_000, 0)}
	r.Sign(key, exporter)
	return r
}

func TestSignatureCoversEveryField(t *testing.T) {
	exporter := bytes.Repeat([]byte{9}, api.ExporterBytes)
	for name, change := range map[string]func(*api.Registration){
		"challenge": func(r *api.Registration) { r.Challenge = []byte("challengf") },
		"key":       func(r *api.Registration) { r.PublicKey = bytes.Repeat([]byte{1}, 32) },
		"short key": func(r *api.Registration) { r.PublicKey = r.PublicKey[:31] },
		"name":      func(r *api.Registration) { r.Name = "cellar" },
		"expiry":    func(r *api.Registration) { r.Expires = r.Expires.Add(time.Second) },
		"binding":   func(r *api.Registration) { r.Bound = !r.Bound },
		"origin":    func(r *api.Registration) { r.Origin = "https://x:443" },
		"signature": func(r *api.Registration) { r.Signature[3] ^= 1 },
	} {
		for _, bind := range [][]byte{nil, exporter} {
			r := signed(t, bind)
			if !r.Verify(exporter) {
				t.Fatalf("%s: an unchanged registration does not verify (bound %v)", name, r.Bound)
			}
			change(&r)
			if r.Verify(exporter) {
				t.Errorf("%s: a changed registration verifies (bound %v)", name, bind != nil)
			}
		}
	}
}

func TestBoundRegistrationIsInvalidOnAnotherConnection(t *testing.T) {
	r := signed(t, bytes.Repeat([]byte{9}, api.ExporterBytes))
	for _, other := range [][]byte{nil, {}, bytes.Repeat([]byte{8}, api.ExporterBytes)} {
		if r.Verify(other) {
			t.Errorf("it verifies with exporter %x", other)
		}
	}
}

func TestRegistrationForOriginIsInvalidElsewhere(t *testing.T) {
	here := ident.OriginOf("rendezvous.example.org")
	good := func() api.Registration {
		r := signed(t, nil)
		key, err := ident.NewKey(bytes.NewReader(bytes.Repeat([]byte{7}, 32)))
		if err != nil {
			t.Fatal(err)
		}
		r.SignForOrigin(key, here)
		return r
	}
	if r := good(); !r.VerifyForOrigin(here) || r.Verify(nil) || r.Verify(bytes.Repeat([]byte{9}, api.ExporterBytes)) {
		t.Fatal("an unchanged registration does not verify, or verifies for a connection")
	}
	for name, change := range map[string]func(*api.Registration){
		"another origin": func(r *api.Registration) { r.Origin = "https://rendezvous.example.net:443" },
		"no origin":      func(r *api.Registration) { r.Origin = "" },
		"bound as well":  func(r *api.Registration) { r.Bound = true },
		"name":           func(r *api.Registration) { r.Name = "cellar" },
		"signature":      func(r *api.Registration) { r.Signature[3] ^= 1 },
	} {
		r := good()
		change(&r)
		if r.VerifyForOrigin(here) || r.VerifyForOrigin(ident.Origin(r.Origin)) || r.Verify(nil) {
			t.Errorf("%s: it verifies", name)
		}
	}
	// A signature for a connection is not valid for an origin, even if the origin is named.
	r := signed(t, nil)
	r.Origin = string(here)
	if r.VerifyForOrigin(here) || r.Verify(nil) {
		t.Error("an unbound registration verifies for an origin")
	}
}

func TestProblemTypesAreComplete(t *testing.T) {
	seen := map[api.Code]bool{}
	for _, k := range api.ProblemTypes {
		if seen[k.Code] {
			t.Errorf("%s is listed twice", k.Code)
		}
		seen[k.Code] = true
		if http.StatusText(k.Status) == "" || k.Status < 400 || k.Means == "" || k.Remedy == "" || len(k.Code) > 32 {
			t.Errorf("incomplete row: %+v", k)
		}
		p := api.NewProblem(k.Code)
		if p.Code != k.Code || p.Status != k.Status || len(p.Detail) > 512 {
			t.Errorf("problem of %s: %+v", k.Code, p)
		}
	}
	if got := api.TypeOf("no such code").Code; got != api.CodeInternal {
		t.Errorf("an unknown code has the type %s", got)
	}
}

func TestProblemsMatchByCode(t *testing.T) {
	var err error = &api.Problem{Code: api.CodeInvite, Detail: "other words"}
	if !errors.Is(err, api.NewProblem(api.CodeInvite)) || errors.Is(err, api.NewProblem(api.CodeFull)) {
		t.Error("errors.Is does not compare the codes")
	}
}

func TestPaths(t *testing.T) {
	if got, want := api.ConfirmationPath("K7M-2QX", 2), "/v1/mailboxes/K7M-2QX/tries/2/confirmation"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var id ident.PeerID
	if got, want := api.AllowedPath(id), api.PathAllowed+"/"+id.String(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
