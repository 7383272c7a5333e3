package web_test

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// TestRefusedMachineIsShownAndApproved: the page shows a machine that was refused because it
// had no invite, and approves it.
func TestRefusedMachineIsShownAndApproved(t *testing.T) {
	b := newBench(t)
	cookies := b.signIn(b.token(api.ScopePeers))
	id := b.refused(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.services.Run(ctx); err != nil { // stores the refusals
		t.Fatal(err)
	}
	if a := b.get("/admin/approvals", cookies); !strings.Contains(a.body, id.String()) ||
		!strings.Contains(a.body, "Approve<") {
		t.Errorf("the machine is not shown: %s", a.body)
	}
	a := b.post("/admin/approvals", cookies, url.Values{"peer": {"x"}})
	if a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, "not the ID of a machine") {
		t.Errorf("a bad ID: %d", a.status)
	}
	if a := b.post("/admin/approvals", cookies, url.Values{"peer": {id.String()}}); a.status != http.StatusSeeOther {
		t.Errorf("approve: %d", a.status)
	}
	waiting, err := b.services.Approvals.Approvals(t.Context(), ident.PeerID{}, 10)
	if err != nil || len(waiting) != 1 || waiting[0].Peer != id {
		t.Errorf("approved %+v, %v", waiting, err)
	}
	if requests, err := b.services.JoinRequests.JoinRequests(t.Context()); err != nil || len(requests) != 0 {
		t.Errorf("still listed: %+v, %v", requests, err)
	}
	if a := b.post("/admin/approvals/"+id.String(), cookies, nil); a.status != http.StatusSeeOther {
		t.Errorf("withdraw: %d", a.status)
	}
	last := b.events()[0]
	if last.Kind != audit.KindPeerDisapproved || !strings.HasPrefix(last.Actor, "admin ") || last.Peer != id {
		t.Errorf("the last event is %+v", last)
	}
}

// refused lets a machine try to register without an invite, and returns its ID.
func (b *bench) refused(t *testing.T) ident.PeerID {
	t.Helper()
	key, err := ident.KeyFromSeed(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	challenge, expires, err := b.services.Registration.Challenge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := api.Registration{Challenge: challenge, Name: "name", Expires: expires}
	r.Sign(key, nil)
	_, err = b.services.Registration.Register(t.Context(), r, peers.Channel{})
	if !errors.Is(err, peers.ErrInviteNeeded) {
		t.Fatalf("register: %v", err)
	}
	return key.ID()
}

// TestFormSentTwiceCreatesOneInvite: reloading the page after a form was sent does not create
// another invite.
func TestFormSentTwiceCreatesOneInvite(t *testing.T) {
	b := newBench(t)
	cookies := b.signIn(b.token(api.ScopeInvites))
	form := url.Values{"label": {"attic"}, "uses": {"2"}, "days": {"7"}, "key": {"K"}}
	first, again := b.post("/admin/invites", cookies, form), b.post("/admin/invites", cookies, form)
	link := func(a answer) string {
		_, after, _ := strings.Cut(a.body, `id="join-link">`)
		link, _, _ := strings.Cut(after, "<")
		return link
	}
	if link(first) == "" || link(first) != link(again) {
		t.Errorf("%q, then %q", link(first), link(again))
	}
	all, err := b.services.Invites.Invites(t.Context(), registry.Page{Limit: 10})
	if err != nil || len(all) != 1 || all[0].Limit() != 2 || all[0].Expires.Sub(all[0].Created) != 7*24*time.Hour {
		t.Errorf("invites %+v, %v", all, err)
	}
	for field, value := range map[string]string{"uses": "many", "days": "9999", "label": "two\nlines"} {
		wrong := url.Values{"label": {"kept"}, "uses": {"1"}, "days": {"7"}}
		wrong.Set(field, value)
		if a := b.post("/admin/invites", cookies, wrong); a.status != http.StatusUnprocessableEntity ||
			!strings.Contains(a.body, `role="alert"`) {
			t.Errorf("%s %q: %d", field, value, a.status)
		}
	}
}

// TestStreamSendsChangesOnly reads the event stream of a page.
func TestStreamSendsChangesOnly(t *testing.T) {
	b := newBench(t)
	token := b.token(api.ScopeAdmin)
	cookies := b.signIn(token)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL+"/admin/invites", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.AddCookie(cookies[0])
	resp, err := b.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") ||
		resp.Header.Get("X-Accel-Buffering") != "no" {
		t.Errorf("headers %v", resp.Header)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	next := func() (event, data string) {
		for lines.Scan() {
			switch name, value, _ := strings.Cut(lines.Text(), ": "); {
			case name == "event":
				event = value
			case name == "data":
				data += value + "\n"
			case event != "":
				return event, data
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return "", ""
	}
	if event, data := next(); event != "page" || !strings.Contains(data, "There is no invite") ||
		strings.Contains(data, "<html") {
		t.Errorf("the first event is %s: %s", event, data)
	}
	spec := peers.InviteSpec{Label: "the next event"}
	if _, _, err := b.services.Invites.CreateInvite(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if event, data := next(); event != "page" || !strings.Contains(data, "the next event") {
		t.Errorf("the second event is %s: %s", event, data)
	}
	parent, err := b.services.Administration.AuthenticateAdmin(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.services.Administration.RevokeToken(t.Context(), parent.ID); err != nil {
		t.Fatal(err)
	}
	if event, _ := next(); event != "gone" {
		t.Errorf("after the revocation of the token: %s", event)
	}
	a := b.get("/admin/invites", cookies, "Accept", "text/event-stream")
	if !strings.Contains(a.body, "event: gone") {
		t.Errorf("a new stream: %s", a.body)
	}
}
