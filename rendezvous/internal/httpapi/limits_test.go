//go:build unix

package httpapi_test

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/httpapi"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/services"
)

// from requests a challenge with headers that claim an address.
func (b *bench) from(forwarded string) answer {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.server.URL+api.PathChallenges, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, name := range []string{"X-Forwarded-For", "X-Real-IP", "True-Client-IP", "Forwarded"} {
		req.Header.Set(name, forwarded)
	}
	return b.send(req)
}

func TestSourcesAreLimited(t *testing.T) {
	b := newBench(t, sqlite(t), func(_ *services.Config, hc *httpapi.Config) {
		hc.Limits.Challenges = httpapi.Limit{PerMinute: 6, Burst: 3}
		hc.Limits.Registrations = httpapi.Limit{PerMinute: 6, Burst: 2}
		hc.Limits.Tries = httpapi.Limit{PerMinute: 6, Burst: 1}
	})
	p := b.join(1) // uses one challenge and one registration
	for i := range 2 {
		if a := b.from("192.0.2." + strconv.Itoa(i)); a.status != http.StatusCreated {
			t.Fatalf("challenge %d: %d %s", i, a.status, a.body)
		}
	}
	a := b.from("192.0.2.99") // the header is ignored
	refused(t, "one more", a, api.CodeRateLimited)
	after, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil || after < 10 || after > 25 {
		t.Errorf("Retry-After %q, want 10 to 25 seconds", a.header.Get("Retry-After"))
	}
	b.clock.Move(10 * time.Second)
	if a := b.from(""); a.status != http.StatusCreated {
		t.Errorf("after waiting: %d %s", a.status, a.body)
	}
	refused(t, "once more", b.from(""), api.CodeRateLimited)

	refused(t, "a bad registration", b.post(api.PathPeers, "", []byte("{")), api.CodeMalformed)
	refused(t, "one more", b.post(api.PathPeers, "", []byte("{")), api.CodeMalformed)
	refused(t, "too many", b.post(api.PathPeers, "", []byte("{")), api.CodeRateLimited)
	refused(t, "a guess", b.try(p, "AAA-AAA", "x"), api.CodeMailboxNotFound)
	refused(t, "a guess too many", b.try(p, "AAA-AAA", "x"), api.CodeRateLimited)
}

func TestForwardedAddressIsBelievedFromTrustedProxies(t *testing.T) {
	b := newBench(t, sqlite(t), func(_ *services.Config, hc *httpapi.Config) {
		hc.Limits.Challenges = httpapi.Limit{PerMinute: 1, Burst: 1}
		hc.Origin = "https://rendezvous.example.org:443"
		hc.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	})
	for _, c := range []struct {
		from string
		ok   bool
	}{
		{"192.0.2.1", true},
		{"192.0.2.1", false},
		{"6.6.6.6, 192.0.2.1", false}, // the client sent the first address
		{"::ffff:192.0.2.1", false},
		{"192.0.2.2", true},
		{"2001:db8:0:1::1", true},
		{"2001:db8:0:1::2", false}, // the same /64 as the address above
		{"2001:db8:0:2::1", true},
		{"nonsense", true}, // unknown clients share one limit
		{"other nonsense", false},
	} {
		if a := b.from(c.from); (a.status == http.StatusCreated) != c.ok {
			t.Errorf("from %q: %d, want ok %v", c.from, a.status, c.ok)
		}
	}
}

// TestOpenServerIsNotFilled registers peers at an open server from many addresses of one
// IPv6 /64. Peers from other sources can still register.
func TestOpenServerIsNotFilled(t *testing.T) {
	onBothStores(t, func(t *testing.T, store *database.Database) {
		b := newBench(t, store, func(_ *services.Config, hc *httpapi.Config) {
			hc.Limits.NewPeers = httpapi.Limit{} // the default
			hc.Origin = "https://rendezvous.example.org:443"
			hc.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
		})
		join := func(n int, from string) answer {
			return b.post(api.PathPeers, "", b.registration(newKey(t, n), "name"), "X-Forwarded-For", from)
		}
		in := 0
		for n := range 100 {
			a := join(n, "2001:db8:1:2::"+strconv.Itoa(n+1))
			if a.status == http.StatusCreated {
				in++
				continue
			}
			refused(t, "one too many", a, api.CodeRateLimited)
		}
		if in != 20 {
			t.Errorf("%d peers could register, want 20", in)
		}
		as[api.RegisterResult](t, join(0, "2001:db8:1:2::1"), http.StatusOK) // a registered peer renews its token
		as[api.RegisterResult](t, join(200, "2001:db8:1:3::1"), http.StatusCreated)
		as[api.RegisterResult](t, join(201, "192.0.2.1"), http.StatusCreated)
		b.clock.Move(time.Minute)
		as[api.RegisterResult](t, join(202, "2001:db8:1:2::1"), http.StatusCreated)
		refused(t, "the next within the minute", join(203, "2001:db8:1:2::2"), api.CodeRateLimited)
		if n, err := store.Admissions.CountPeers(t.Context()); err != nil || n != 23 {
			t.Errorf("%d peers, %v", n, err)
		}
	})
}

func TestPeersAreLimited(t *testing.T) {
	b := newBench(t, sqlite(t), func(_ *services.Config, hc *httpapi.Config) {
		hc.Limits.Peer = httpapi.Limit{PerMinute: 60, Burst: 3}
		hc.Limits.Tokens = httpapi.Limit{PerMinute: 60, Burst: 2}
	})
	flooder, other := b.join(1), b.join(2)
	self := func(token string) answer { return b.get(api.PathPeers+"/self", token) }
	for range 3 {
		as[api.Peer](t, self(flooder.token), http.StatusOK)
	}
	refused(t, "a peer's flood", self(flooder.token), api.CodeRateLimited)
	as[api.Peer](t, self(other.token), http.StatusOK)
	for range 2 {
		refused(t, "a guess", self("ef_"+strings.Repeat("A", 54)), api.CodeUnauthenticated)
	}
	refused(t, "a flood of guesses", self(other.token), api.CodeRateLimited)
	b.clock.Move(time.Second)
	as[api.Peer](t, self(other.token), http.StatusOK)
}
