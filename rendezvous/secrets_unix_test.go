//go:build unix

package rendezvous

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/internal/logging/logtest"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore/pgtest"
)

// secrets gathers what a server gives out that must be kept nowhere.
type secrets map[string]string

// add remembers a secret. What is public of a token, its first eight bytes, is
// not looked for: the rest is, as text and as what the text stands for.
func (s secrets) add(t *testing.T, what, secret string) {
	t.Helper()
	if len(secret) < 16 {
		t.Fatalf("the %s is %q", what, secret)
	}
	s[what] = secret
}

// in lists the secrets that stand in a text.
func (s secrets) in(text string) (found []string) {
	for what, secret := range s {
		tail := secret
		if mark := strings.LastIndex(secret[:4], "_"); mark >= 0 {
			tail = secret[mark+1+12:]
		}
		raw, err := base64.RawURLEncoding.DecodeString(tail)
		if err != nil {
			raw = []byte(tail)
		}
		for _, form := range []string{
			secret, tail, string(raw), hex.EncodeToString(raw),
			base64.StdEncoding.EncodeToString(raw), url.QueryEscape(secret),
		} {
			if strings.Contains(text, form) {
				found = append(found, what)
				break
			}
		}
	}
	return found
}

// TestSecretsAreKeptNowhere has a server at its most talkative register, refuse,
// pair, sign in, and be asked wrongly with every secret that it has given out,
// and looks for these in its log as it is before anything is taken out of it, in
// every refusal, and in all of its database.
func TestSecretsAreKeptNowhere(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		c := local(t)
		keepsNothing(t, c, func() string {
			var all strings.Builder
			for _, tail := range []string{"", "-wal"} {
				raw, err := os.ReadFile(filepath.Join(c.Data, "rendezvous.db"+tail))
				if err != nil {
					t.Fatal(err)
				}
				all.Write(raw)
			}
			return all.String()
		})
	})
	t.Run("Postgres", func(t *testing.T) {
		server := pgtest.Shared(t)
		name := server.Database(t)
		c := local(t)
		c.DatabaseURL = server.URL(name)
		keepsNothing(t, c, func() string {
			dump, err := server.Dump(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			return dump
		})
	})
}

func keepsNothing(t *testing.T, c Config, database func() string) {
	t.Helper()
	log := &logtest.Journal{}
	i := startLogging(t, c, slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	given := secrets{}
	p := givesOut(t, c, i, given)
	answers := refusals(t, p, given)
	if len(answers) < 10*len(given) {
		t.Fatalf("%d refusals of %d secrets", len(answers), len(given))
	}
	for _, answer := range answers {
		if found := given.in(answer); len(found) > 0 {
			t.Errorf("%q is in: %s", found, answer)
		}
	}
	dump := database()
	if !strings.Contains(dump, "a label of one's own") {
		t.Fatal("the database does not hold what was written: the test looks in the wrong place")
	}
	if found := given.in(dump); len(found) > 0 {
		t.Errorf("%q is in the database", found)
	}
	i.stop()
	text := log.String()
	if !strings.Contains(text, "refused a signalling connection") {
		t.Error("the log is not at its most talkative: the test looks in the wrong place")
	}
	if found := given.in(text); len(found) > 0 {
		t.Errorf("%q is in the log", found)
	}
}

// givesOut has the server give out one of each secret.
func givesOut(t *testing.T, c Config, i *instance, given secrets) *peer {
	t.Helper()
	_, join := follow(t, i.link)
	given.add(t, "invite of the join link", join.Get("invite"))
	link := KeptAdminLink(c.Data)
	_, waiting := follow(t, link)
	given.add(t, "code of the admin link", waiting.Get("link"))
	admin := newAdmin(t, link)
	given.add(t, "first administrator's token", admin.token)

	var invite api.Invite
	admin.do(http.MethodPost, api.PathInvites, api.InviteRequest{Label: "a label of one's own", Uses: 1}, &invite)
	given.add(t, "invite", invite.Code)
	var token api.AdminToken
	admin.do(http.MethodPost, api.PathTokens, api.AdminTokenRequest{Scopes: []api.Scope{api.ScopePeers}}, &token)
	given.add(t, "administrator's token", token.Token)

	a, b := newPeer(t, i.link, 1), newPeer(t, i.link, 2)
	given.add(t, "a peer's token", a.token)
	a.register() // again: another token
	given.add(t, "a peer's next token", a.token)
	given.add(t, "another peer's token", b.token)
	var relay api.RelayCredentials
	a.call(http.MethodPost, api.PathRelay, &relay)
	given.add(t, "password of the relay", relay.Password)

	var box api.Mailbox
	a.call(http.MethodPost, api.PathMailboxes, &box)
	var try api.Try
	b.do(http.MethodPost, api.TriesPath(box.Address), api.Message{Body: []byte("opening")}, &try)
	b.allow(a)
	a.connect()
	b.connect()
	signals(t, a, b, "hello")
	stranger, _ := follow(t, i.link)
	stranger.key = keyOf(t, 9)
	stranger.hello()
	return a
}

// refusals asks wrongly with every secret and returns every answer that refuses.
func refusals(t *testing.T, p *peer, given secrets) (answers []string) {
	t.Helper()
	good := p.token
	ask := func(method, path string, body any) {
		status, answer := p.asks(method, path, body)
		if status >= http.StatusBadRequest {
			answers = append(answers, string(answer))
		}
	}
	for _, secret := range given {
		p.token = good
		quoted, err := json.Marshal(secret)
		if err != nil {
			t.Fatal(err)
		}
		ask(http.MethodGet, "/v1/peers/"+secret, nil)
		ask(http.MethodGet, "/v1/nothing/"+secret+"?token="+secret, nil)
		ask(http.MethodGet, api.PathPeers+"/self?token="+secret, nil)
		ask(http.MethodGet, "/v1/pairings/"+secret+"/tries", nil)
		ask(http.MethodPatch, api.PathSelf, fmt.Sprintf(`{"name":%s,"more":%s}`, quoted, quoted))
		ask(http.MethodPatch, api.PathSelf, fmt.Sprintf(`{%s:1}`, quoted))
		ask(http.MethodPatch, api.PathSelf, fmt.Sprintf(`{"name":%s`, quoted))
		ask(http.MethodPost, api.PathPeers, fmt.Sprintf(`{"invite":%s,"public_key":%s,"name":1}`, quoted, quoted))
		ask(http.MethodPost, api.PathAdminLink, fmt.Sprintf(`{"code":%s,"label":2}`, quoted))
		ask(http.MethodPost, api.PathAdminLink, fmt.Sprintf(`{"code":%s}`, quoted))
		ask(secret[:8], api.PathServer, nil) // a method that is none
		for _, token := range []string{secret + "x", "x" + secret, secret + "\t" + secret} {
			p.token = token
			ask(http.MethodGet, api.PathInvites, nil)
			ask(http.MethodGet, api.PathSelf, nil)
		}
	}
	return answers
}
