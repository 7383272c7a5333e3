package logging_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/internal/logging"
)

// secrets are secrets of the server, in the form in which it creates them.
var secrets = []string{
	"ef_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKA", // a peer's token
	"efa_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKA",
	"rY3kQ0c1Vw9xZp7LmN2aBg",                      // an invite, an admin link's code
	"dGhlIHBhc3N3b3JkIG9mIGEgcmVsYXkgMDEyMzQ1Ng1", // a relay's password
}

// record returns the line that one log record writes.
func record(t *testing.T, log func(*slog.Logger)) string {
	t.Helper()
	var out bytes.Buffer
	log(logging.New(&out, logging.Options{Level: slog.LevelDebug}))
	if !json.Valid(out.Bytes()) {
		t.Errorf("not JSON: %s", out.String())
	}
	return out.String()
}

func TestSecretsAreRedactedByShape(t *testing.T) {
	for _, secret := range secrets {
		for name, text := range map[string]string{
			"alone":    secret,
			"quoted":   fmt.Sprintf("got %q", secret),
			"a header": "Authorization: Bearer " + secret,
			"a query":  "https://x.example/v1?invite=" + secret + "&x=1",
			"a link":   "https://x.example:8443/#invite=" + secret + "&pin=abc",
			"a URL":    "postgres://easyfind:" + secret + "@db/easyfind",
			"keywords": "host=db user=easyfind password=" + secret + " port=1",
			"JSON":     `{"token":"` + secret + `"}`,
		} {
			for how, line := range map[string]string{
				"message": record(t, func(l *slog.Logger) { l.Info(text) }),
				"text":    record(t, func(l *slog.Logger) { l.Info("x", "what", text) }),
				"error": record(t, func(l *slog.Logger) {
					l.Info("x", "err",
						fmt.Errorf("wrap: %w", errors.New(text)))
				}),
				"any":    record(t, func(l *slog.Logger) { l.Info("x", "v", struct{ S string }{text}) }),
				"header": record(t, func(l *slog.Logger) { l.Info("x", "v", http.Header{"X": {text}}) }),
				"group":  record(t, func(l *slog.Logger) { l.WithGroup("g").Info("x", slog.Group("h", "v", text)) }),
				"with":   record(t, func(l *slog.Logger) { l.With("v", text).Info("x") }),
			} {
				if strings.Contains(line, secret) || strings.Contains(line, secret[4:]) {
					t.Errorf("%s as %s: %s", name, how, line)
				}
			}
		}
	}
}

func TestSecretsAreRedactedByKey(t *testing.T) {
	for _, key := range []string{"token", "Invite", "password", "pin", "link", "join-link", "Authorization", "secret"} {
		if line := record(t, func(l *slog.Logger) { l.Info("x", key, "sesame-open") }); strings.Contains(line,
			"sesame") {
			t.Errorf("%s: %s", key, line)
		}
	}
}

func TestOrdinaryTextIsNotRedacted(t *testing.T) {
	for _, text := range []string{
		"72ASYEX-TVNGONS-LC5W2NM-GUXZA3N-FRWEPPI-P5THYSP-S5577KU-RGHCEQF", // a PeerID
		"127.0.0.1:8443", "https://rendezvous.example.org:8443/v1/peers/self",
		"postgres://easyfind@db.example.org:5432/easyfind",
		"open /var/lib/easyfind-rendezvous/rendezvous.db: no such file or directory",
		"9f0c2b7d41aa35e69f0c2b7d41aa35e6", "the certificate's key is not the pinned one",
	} {
		if got := logging.Scrub(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	line := record(t, func(l *slog.Logger) { l.Info("x", "n", 7, "took", time.Second, "yes", true) })
	if !strings.Contains(line, `"n":7,"took":1000000000,"yes":true`) {
		t.Error(line)
	}
}

func TestFormats(t *testing.T) {
	for _, c := range []struct {
		o    logging.Options
		want string
	}{
		{logging.Options{}, `"msg":"hello"`},
		{logging.Options{Format: logging.Auto}, `"msg":"hello"`},
		{logging.Options{Format: logging.Text}, `msg=hello`},
		{logging.Options{Format: logging.JSON, Terminal: true}, `"msg":"hello"`},
		{logging.Options{Format: logging.Auto, Terminal: true}, "\x1b["},
	} {
		var out bytes.Buffer
		c.o.Level = slog.LevelInfo
		l := logging.New(&out, c.o)
		l.Info("hello", "a", 1)
		l.Debug("not this")
		if !strings.Contains(out.String(), c.want) || strings.Contains(out.String(), "not this") {
			t.Errorf("%+v: %q", c.o, out.String())
		}
	}
}

func TestRepeatedErrorIsWrittenOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := logging.New(&out, logging.Options{Level: slog.LevelDebug, Format: logging.Text}).With("part", "rest")
		lines := func() []string {
			defer out.Reset()
			return strings.Split(strings.TrimSpace(out.String()), "\n")
		}
		full := func() { l.Error("cannot write", "err", io.ErrShortWrite) }
		for range 50 {
			full()
			l.Info("a request")
		}
		l.Error("cannot write", "err", io.EOF)
		if got := lines(); len(got) != 52 {
			t.Errorf("%d lines: %q", len(got), got)
		}
		<-time.After(time.Minute)
		full()
		full()
		if got := lines(); len(got) != 1 || !strings.Contains(got[0], "repeated=49") {
			t.Errorf("a minute later: %q", got)
		}
	})
}
