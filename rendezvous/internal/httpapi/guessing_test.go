//go:build unix

package httpapi_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/httpapi"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/services"
)

// TestGuessersGetThreeTriesAndNoMore makes 10,000 guesses from 2,000 networks, half of them
// at addresses that are in use. No owner gets more than three tries. Once all guessers
// together have missed too often, no answer shows any more whether an address is in use.
func TestGuessersGetThreeTriesAndNoMore(t *testing.T) {
	const guesses, networks, boxes, misses = 10_000, 2_000, 8, 300
	b := newBench(t, sqlite(t), func(_ *services.Config, hc *httpapi.Config) {
		hc.Limits.Tries = httpapi.Limit{} // the default
		hc.Limits.Misses = httpapi.Limit{PerMinute: misses, Burst: misses}
		hc.Limits.Peer = httpapi.Limit{PerMinute: 60_000, Burst: guesses}
		hc.Origin = "https://rendezvous.example.org:443"
		hc.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	})
	host, other := b.join(1), b.join(2)
	var open []ident.Address
	for i := range boxes {
		open = append(open, b.open([]peer{host, other}[i%2]))
	}
	var guessers []peer
	for i := range 12 {
		guessers = append(guessers, b.join(10+i))
	}
	random := rand.New(rand.NewChaCha8([32]byte{1}))
	tries, answers := map[ident.Address]int{}, map[int]int{}
	for n := range guesses {
		a := open[n/2%boxes]
		if n%2 == 1 {
			var raw [16]byte
			for i := range raw {
				raw[i] = byte(random.Uint32())
			}
			var err error
			if a, err = ident.NewAddress(reader(raw[:])); err != nil {
				t.Fatal(err)
			}
		}
		from := fmt.Sprintf("2001:db8:%x::1", n%networks)
		got := b.post(api.TriesPath(a), guessers[n%len(guessers)].token, message(fmt.Sprint("guess ", n)),
			"X-Forwarded-For", from)
		answers[got.status]++
		if got.status == http.StatusCreated {
			tries[a]++
		}
	}
	t.Logf("answers by status: %v", answers)
	for a, n := range tries {
		if n > api.MaxTries {
			t.Errorf("%d tries at one mailbox", n)
		}
		if !slices.Contains(open, a) {
			t.Error("a try at a mailbox that does not exist")
		}
	}
	if got := answers[http.StatusNotFound]; got > misses {
		t.Errorf("%d answers show that an address is unused, want at most %d", got, misses)
	}
	if answers[http.StatusTooManyRequests] < guesses/2 {
		t.Errorf("of %d guesses only %d were refused by the limit", guesses, answers[http.StatusTooManyRequests])
	}
	b.clock.Move(time.Minute)
	fresh := b.open(b.join(3))
	as[api.Try](
		t,
		b.post(api.TriesPath(fresh), other.token, message("the right one"), "X-Forwarded-For", "192.0.2.1"),
		http.StatusCreated,
	)
}

type reader []byte

func (r reader) Read(p []byte) (int, error) { return copy(p, r), nil }

// TestUnknownAndDeniedTakeAsLong: the time of the answer does not show either whether a
// peer exists. Each measurement compares two consecutive requests in random order, so that
// other load on the machine affects both.
func TestUnknownAndDeniedTakeAsLong(t *testing.T) {
	onBothStores(t, func(t *testing.T, store *database.Database) {
		b := newBench(t, store, func(_ *services.Config, hc *httpapi.Config) {
			hc.Limits.Peer = httpapi.Limit{PerMinute: 600_000, Burst: 100_000}
		})
		asker, hidden := b.join(1), b.join(2)
		b.mu.Lock()
		b.online[hidden.id] = true
		b.mu.Unlock()
		unknown := newKey(t, 99).ID()
		took := func(id ident.PeerID) time.Duration {
			began := time.Now()
			refused(t, "a lookup", b.get(api.PeerPath(id), asker.token), api.CodePeerNotFound)
			return time.Since(began)
		}
		const pairs, rounds, bound = 300, 6, 0.1
		var seen []float64
		for range rounds {
			var differences, all []time.Duration
			for range pairs {
				var d, u time.Duration
				if rand.IntN(2) == 0 {
					d, u = took(hidden.id), took(unknown)
				} else {
					u, d = took(unknown), took(hidden.id)
				}
				differences, all = append(differences, d-u), append(all, d, u)
			}
			slices.Sort(differences)
			slices.Sort(all)
			// A real difference shows in every round.
			off := float64(differences[pairs/2]) / float64(all[pairs])
			seen = append(seen, off)
			if off < bound && off > -bound {
				t.Logf("the median difference of %d pairs of requests is %.1f %% of a request", pairs, 100*off)
				return
			}
		}
		t.Errorf("lookups of an existing peer differ by these fractions of a request: %.2f", seen)
	})
}
