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

// secrets are the secrets of a server that must not be stored or logged, by value.
type secrets map[string]string

// add adds a secret. The first eight bytes of a token are public: only the rest is
// searched for, as text and in decoded form.
func (s secrets) add(t *testing.T, what, secret string) {
	t.Helper()
	if len(secret) < 16 {
		t.Fatalf("the %s is %q", what, secret)
	}
	s[what] = secret
}

// in returns the secrets that a text contains.
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

// TestSecretsAreNotStoredOrLogged lets a server with debug logging register peers, refuse
// requests, pair and sign in, and sends wrong requests with every secret that it has
// issued. The secrets must not be in the log before redaction, in any error answer, or
// in the database.
func TestSecretsAreNotStoredOrLogged(t *testing.T) {
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
	p := issueSecrets(t, c, i, given)
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
		t.Fatal("the database does not contain what was written: the test reads the wrong files")
	}
	if found := given.in(dump); len(found) > 0 {
		t.Errorf("%q is in the database", found)
	}
	i.stop()
	text := log.String()
	if !strings.Contains(text, "refused a signalling connection") {
		t.Error("the log has no debug records: the test reads the wrong log")
	}
	if found := given.in(text); len(found) > 0 {
		t.Errorf("%q is in the log", found)
	}
}

// issueSecrets lets the server issue one secret of each kind.
func issueSecrets(t *testing.T, c Config, i *instance, given secrets) *peer {
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
	a.register() // returns another token
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

// refusals sends wrong requests with every secret and returns the error answers.
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
		ask(secret[:8], api.PathServer, nil) // an unknown method
		for _, token := range []string{secret + "x", "x" + secret, secret + "\t" + secret} {
			p.token = token
			ask(http.MethodGet, api.PathInvites, nil)
			ask(http.MethodGet, api.PathSelf, nil)
		}
	}
	return answers
}
