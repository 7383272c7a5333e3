package rvclient_test

import (
	"bufio"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/proto/api"
)

// TestAdministratorsPageBehindReverseProxies signs in there, is told of what
// happens as it happens, and is refused what another site asks for.
func TestAdministratorsPageBehindReverseProxies(t *testing.T) {
	for name, p := range reverseProxies {
		t.Run(name, func(t *testing.T) {
			s := p.stand(t, nil)
			o := administer(t, s.data)
			v := visit(t, "https", s.public, "127.0.0.13")
			v.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			signIn := func(origin string) *http.Response {
				t.Helper()
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, v.base+"/admin/sign-in", strings.NewReader(url.Values{"secret": {o.token}}.Encode()))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				req.Header.Set("Origin", origin)
				res, err := v.http.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				return res
			}
			if res := signIn("https://rendezvous.example.net"); res.StatusCode != http.StatusForbidden {
				t.Errorf("from another site: %s", res.Status)
			}
			res := signIn(v.base)
			if res.StatusCode != http.StatusSeeOther || len(res.Cookies()) != 1 {
				t.Fatalf("sign in: %s", res.Status)
			}
			stream := visit(t, "https", s.public, "127.0.0.13")
			stream.http.Timeout = 2 * patience
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, v.base+"/admin/invites", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept", "text/event-stream")
			req.AddCookie(res.Cookies()[0])
			events, err := stream.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer events.Body.Close()
			lines := bufio.NewScanner(events.Body)
			lines.Buffer(nil, 1<<20)
			until := func(word string) {
				t.Helper()
				for lines.Scan() {
					if strings.Contains(lines.Text(), word) {
						return
					}
				}
				t.Fatalf("never %q: %v", word, lines.Err())
			}
			until("join link")
			o.do(http.MethodPost, api.PathInvites, api.InviteRequest{Label: "told at once"}, &api.Invite{})
			until("told at once")

			var log api.Events
			o.do(http.MethodGet, api.PathAudit+"?kind=signed_in", nil, &log)
			if len(log.Events) != 1 || log.Events[0].Source != "127.0.0.13" {
				t.Errorf("the log has %+v", log.Events)
			}
		})
	}
}
