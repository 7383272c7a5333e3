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
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous"
)

func TestAgentsSignalThroughReverseProxies(t *testing.T) {
	for name, p := range reverseProxies {
		t.Run(name, func(t *testing.T) {
			s := p.start(t, nil)
			a, b := joinFrom(t, s.link, 1, "127.0.0.11"), joinFrom(t, s.link, 2, "127.0.0.12")
			want := rvclient.ViaTLS
			if p.tls {
				want = rvclient.ViaProxy
			}
			for _, x := range []*agent{a, b} {
				got := x.await(t, "connected", func(s rvclient.State) bool { return s.Connected })
				if got.Via != want {
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
					t.Errorf("%s is announced, which a proxy that ends TLS does not forward", turn)
				}
			}

			// A client cannot choose the source address that the rendezvous records.
			v := visit(t, "https", s.public, "127.0.0.13")
			if _, err := v.register(3, s.invite(), "", "X-Forwarded-For", "203.0.113.5"); err != nil {
				t.Errorf("register with an X-Forwarded-For: %v", err)
			}
			for name, source := range map[string]string{
				"agent 1": "127.0.0.11", "agent 2": "127.0.0.12", "visitor 3": "127.0.0.13",
			} {
				if got, _, _ := strings.Cut(s.source(name), "/"); got != source {
					t.Errorf("the source of %s is %q, want %s", name, got, source)
				}
			}
		})
	}
}

func TestForwardedHeadersOfOthersAreIgnored(t *testing.T) {
	s := reverseProxies["nginx ending TLS"].start(t, nil)
	origin := ident.OriginOf(s.public)
	stranger := visit(t, "https", s.direct, "127.0.0.14")
	if _, err := stranger.register(4, s.invite(), origin); !errors.Is(err, api.NewProblem(api.CodeBinding)) {
		t.Errorf("a signature for the origin without the proxy: %v", err)
	}
	bind, err := stranger.register(4, s.invite(), "", "X-Forwarded-For", "203.0.113.5", "X-Forwarded-For", "127.0.0.1")
	if err != nil || bind != api.BindTLS {
		t.Errorf("the binding without the proxy is %q: %v", bind, err)
	}
	if source := s.source("visitor 4"); !strings.HasPrefix(source, "127.0.0.14") {
		t.Errorf("the rendezvous used a stranger's X-Forwarded-For: %s", source)
	}
	if _, err := visit(t, "http", s.plain, "127.0.0.14").do(http.MethodGet, api.PathLive, nil, nil); err == nil {
		t.Error("a stranger was served without TLS")
	}
	other := visit(t, "https", s.public, "127.0.0.15")
	_, err = other.register(5, s.invite(), "https://rendezvous.example.net:443")
	if !errors.Is(err, api.NewProblem(api.CodeOrigin)) {
		t.Errorf("a signature for another rendezvous: %v", err)
	}
}

func TestProxiedConnectionsAreLimitedBySource(t *testing.T) {
	s := reverseProxies["HAProxy ending TLS"].start(t, func(c *rendezvous.Config) { c.PerSource = 1 })
	joinFrom(t, s.link, 1, "127.0.0.11").connected(t)
	second := joinFrom(t, s.link, 2, "127.0.0.11")
	state := second.await(t, "refused", func(s rvclient.State) bool { return strings.Contains(s.Reason, "429") })
	if state.Connected {
		t.Error("a second connection from the same source was accepted")
	}
	joinFrom(t, s.link, 3, "127.0.0.12").connected(t)
}

func TestProxyHeaderOfStrangerIsRefused(t *testing.T) {
	s := reverseProxies["HAProxy forwarding TLS"].start(t, nil)
	conn, err := from("127.0.0.16").DialContext(t.Context(), "tcp", s.direct)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(waittest.Timeout))
	io.WriteString(conn, "PROXY TCP4 203.0.113.5 127.0.0.1 1 443\r\n")
	err = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(t.Context())
	if err == nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the header of a stranger was not refused: %v", err)
	}
}
