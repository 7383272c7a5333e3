package rvclient_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/rvclient"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous"
)

func TestAgentsMeetThroughReverseProxies(t *testing.T) {
	for name, p := range reverseProxies {
		t.Run(name, func(t *testing.T) {
			s := p.stand(t, nil)
			a, b := joinFrom(t, s.link, 1, "127.0.0.11"), joinFrom(t, s.link, 2, "127.0.0.12")
			want := rvclient.ViaTLS
			if p.tls {
				want = rvclient.ViaProxy
			}
			for _, x := range []*agent{a, b} {
				if got := x.await(t, "connected", func(s rvclient.State) bool { return s.Connected }); got.Via != want {
					t.Errorf("connected via %q, want %q: %s", got.Via, want, got)
				}
			}
			allow(t, a, b)
			for _, body := range []string{"one", strings.Repeat("x", 32<<10)} {
				if err := a.Send(t.Context(), b.id, []byte(body)); err != nil {
					t.Fatalf("send: %v", err)
				}
				b.expect(t, a.id.Short()+" "+body)
			}
			if err := b.Send(t.Context(), a.id, []byte("answer")); err != nil {
				t.Fatal(err)
			}
			a.expect(t, b.id.Short()+" answer")
			servers, err := a.RelayServers(t.Context())
			if err != nil || servers.Username == "" {
				t.Errorf("relay: %v", err)
			}
			for _, turn := range servers.TURN {
				if p.tls && strings.HasPrefix(turn, "turns:") {
					t.Errorf("%s is announced, which a proxy that ends TLS does not pass on", turn)
				}
			}

			// Who connects is seen, whatever they say.
			if _, err := visit(t, "https", s.public, "127.0.0.13").register(3, s.invite(), "", "X-Forwarded-For", "203.0.113.5"); err != nil {
				t.Errorf("register with a header of its own: %v", err)
			}
			seen := s.sources()
			for name, source := range map[string]string{"agent 1": "127.0.0.11", "agent 2": "127.0.0.12", "visitor 3": "127.0.0.13"} {
				if got, _, _ := strings.Cut(seen[name], "/"); got != source {
					t.Errorf("%s was seen at %q, want %s: %v", name, seen[name], source, seen)
				}
			}
		})
	}
}

func TestOnlyTheProxyIsBelieved(t *testing.T) {
	s := reverseProxies["nginx ending TLS"].stand(t, nil)
	origin := ident.OriginOf(s.public)
	stranger := visit(t, "https", s.direct, "127.0.0.14")
	if _, err := stranger.register(4, s.invite(), origin); !errors.Is(err, api.NewProblem(api.CodeBinding)) {
		t.Errorf("bound to the origin, directly: %v", err)
	}
	bind, err := stranger.register(4, s.invite(), "", "X-Forwarded-For", "203.0.113.5", "X-Forwarded-For", "127.0.0.1")
	if err != nil || bind != api.BindTLS {
		t.Errorf("bound to %q, directly: %v", bind, err)
	}
	if seen := s.sources()["visitor 4"]; !strings.HasPrefix(seen, "127.0.0.14") {
		t.Errorf("a stranger's X-Forwarded-For was believed: %s", seen)
	}
	if _, err := visit(t, "http", s.plain, "127.0.0.14").do(http.MethodGet, api.PathLive, nil, nil); err == nil {
		t.Error("a stranger was served without TLS")
	}
	elsewhere := visit(t, "https", s.public, "127.0.0.15")
	if _, err := elsewhere.register(5, s.invite(), "https://rendezvous.example.net:443"); !errors.Is(err, api.NewProblem(api.CodeOrigin)) {
		t.Errorf("for another rendezvous: %v", err)
	}
}

func TestConnectionsThroughAProxyCountForTheirSource(t *testing.T) {
	s := reverseProxies["HAProxy ending TLS"].stand(t, func(c *rendezvous.Config) { c.PerSource = 1 })
	joinFrom(t, s.link, 1, "127.0.0.11").connected(t)
	second := joinFrom(t, s.link, 2, "127.0.0.11")
	state := second.await(t, "refused", func(s rvclient.State) bool { return strings.Contains(s.Reason, "429") })
	if state.Connected {
		t.Error("a second connection of one source was let in")
	}
	joinFrom(t, s.link, 3, "127.0.0.12").connected(t)
}

func TestAProxyHeaderFromElsewhereIsRefused(t *testing.T) {
	s := reverseProxies["HAProxy passing TLS on"].stand(t, nil)
	conn, err := from("127.0.0.16").DialContext(t.Context(), "tcp", s.direct)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, "PROXY TCP4 203.0.113.5 127.0.0.1 1 443\r\n")
	if err := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(t.Context()); err == nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a stranger's header was not refused: %v", err)
	}
}
