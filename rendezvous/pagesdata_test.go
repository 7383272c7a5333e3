package rendezvous

import (
	"context"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/history"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/sqlitestore"
)

// remember writes a day of history and relay usage of some peers.
func remember(t *testing.T, data string, peers int) {
	t.Helper()
	store, err := sqlitestore.Open(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	now := time.Now().UTC().Truncate(time.Minute)
	for n := range 23 * 60 {
		wave := 1 + math.Sin(float64(n)/180)
		m := history.Minute{
			At: now.Add(-time.Duration(n) * time.Minute), Instance: "before", Peers: 2 + int(2.4*wave),
			Pairs:      presence.PairCount{Direct: int(1.6 * wave), Relayed: int(1.1*wave + 0.2*float64(n%7)/7)},
			RelayBytes: int64(4e6 * wave * float64(n%11)), RelayPackets: 900,
		}
		if n%97 == 0 {
			m.Registrations = 1
		}
		if n%41 == 0 {
			m.Refusals = int64(n % 5)
		}
		if n > 500 && n < 560 { // no instance was running
			continue
		}
		if err := store.History().AddMinute(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	today := history.DayOf(now)
	for day := range 30 {
		var uses []history.RelayUse
		for n := range min(peers, 4) {
			f := int64(float64(7-2*n)*1e8*(1+math.Sin(float64(day)/4))) + 3
			uses = append(uses, history.RelayUse{
				Peer: seeded(t, byte(n+1)), SentBytes: f, SentPackets: f / 1100,
				ReceivedBytes: f / 6, ReceivedPackets: f / 1300,
			})
		}
		if err := store.History().AddRelayUse(context.Background(), today-history.Day(day), uses); err != nil {
			t.Fatal(err)
		}
	}
}

// seeded returns the ID of the peer that newPeer creates from a seed.
func seeded(t *testing.T, seed byte) ident.PeerID {
	t.Helper()
	key, err := ident.KeyFromSeed([]byte(strings.Repeat(string(rune(seed)), 32)))
	if err != nil {
		t.Fatal(err)
	}
	return key.ID()
}

// populate lets peers join, connect and report links, and an administrator use every
// feature.
func populate(t *testing.T, i *instance, admin *peer, names []string) []*peer {
	t.Helper()
	var all []*peer
	for n, name := range names {
		p := newPeer(t, i.link, byte(n+1))
		admin.change(http.MethodPatch, api.AdminPeerPath(p.key.ID()), api.PeerChange{Name: name})
		if n < 5 {
			p.connect()
		}
		all = append(all, p)
	}
	for n, kind := range []signal.LinkKind{signal.LinkDirect, signal.LinkLAN, signal.LinkRelayed, signal.LinkDirect} {
		from, to := all[n], all[(n+1)%5]
		to.allow(from)
		from.write(signal.LinkReport{
			Peer: to.key.ID(), Kind: kind, Transport: signal.TransportUDP,
			RTT: time.Duration(7+13*n) * time.Millisecond,
		})
	}
	gone := newPeer(t, i.link, 99)
	admin.change(http.MethodDelete, api.AdminPeerPath(gone.key.ID()), nil)
	admin.change(http.MethodPut, api.ApprovalPath(seeded(t, 98)), nil)
	admin.do(http.MethodPost, api.PathInvites, api.InviteRequest{Label: "the neighbours", Uses: 3}, nil)
	admin.do(http.MethodPost, api.PathTokens, api.AdminTokenRequest{
		Label:  "helpdesk",
		Scopes: []api.Scope{api.ScopePeers, api.ScopeInvites},
	}, nil)
	return all
}

// change sends a request that matches any version.
func (p *peer) change(method, path string, in any) {
	p.t.Helper()
	client := over(p.dial("http/1.1"))
	defer client.CloseIdleConnections()
	client.Transport = whatever{client.Transport}
	p.request(client, method, path, in, nil)
}

// whatever adds If-Match: * to requests.
type whatever struct{ http.RoundTripper }

func (w whatever) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("If-Match", "*")
	return w.RoundTripper.RoundTrip(r)
}
