package rvclient_test

import (
	"bufio"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/api"
)

// TestAdminPageBehindReverseProxies signs in through each proxy, receives events
// when they happen, and expects that requests from another site are refused.
func TestAdminPageBehindReverseProxies(t *testing.T) {
	for name, p := range reverseProxies {
		t.Run(name, func(t *testing.T) {
			s := p.start(t, nil)
			o := administer(t, s.data)
			v := visit(t, "https", s.public, "127.0.0.13")
			v.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			if res := v.signIn(o.token, "https://rendezvous.example.net"); res.StatusCode != http.StatusForbidden {
				t.Errorf("from another site: %s", res.Status)
			}
			res := v.signIn(o.token, v.base)
			if res.StatusCode != http.StatusSeeOther || len(res.Cookies()) != 1 {
				t.Fatalf("sign in: %s", res.Status)
			}
			awaitEvent := v.events(s.public, res.Cookies()[0])
			awaitEvent("event:") // the page sends its current content first
			o.do(http.MethodPost, api.PathInvites, api.InviteRequest{Label: "a new label"}, &api.Invite{})
			awaitEvent("a new label")

			var log api.Events
			o.do(http.MethodGet, api.PathAudit+"?kind=signed_in", nil, &log)
			if len(log.Events) != 1 || log.Events[0].Source != "127.0.0.13" {
				t.Errorf("the audit log has %+v", log.Events)
			}
		})
	}
}

// signIn signs in on the admin page with a token, from a page of that origin.
func (v *visitor) signIn(token, origin string) *http.Response {
	v.t.Helper()
	form := strings.NewReader(url.Values{"secret": {token}}.Encode())
	req, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.base+"/admin/sign-in", form)
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", origin)
	res, err := v.http.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	res.Body.Close()
	return res
}

// events opens the event stream of the page of invites at host:port. It returns a
// function that waits for an event that contains a text.
func (v *visitor) events(at string, cookie *http.Cookie) func(text string) {
	v.t.Helper()
	stream := visit(v.t, "https", at, "127.0.0.13")
	stream.http.Timeout = 2 * waittest.Timeout
	req, err := http.NewRequestWithContext(v.t.Context(), http.MethodGet, v.base+"/admin/invites", nil)
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.AddCookie(cookie)
	events, err := stream.http.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { events.Body.Close() })
	lines := bufio.NewScanner(events.Body)
	lines.Buffer(nil, 1<<20)
	return func(text string) {
		v.t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), text) {
				return
			}
		}
		v.t.Fatalf("no event with %q: %v", text, lines.Err())
	}
}
