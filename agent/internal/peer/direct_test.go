package peer

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// TestSlowUDPMakesEitherPeerDialTLS lets only b reach the address of the other agent over TCP. Either agent has
// found that UDP carries little.
func TestSlowUDPMakesEitherPeerDialTLS(t *testing.T) {
	for name, seeker := range map[string]func(a, b *testAgent) *testAgent{
		"the peer that can dial":    func(_, b *testAgent) *testAgent { return b },
		"the peer that cannot dial": func(a, _ *testAgent) *testAgent { return a },
	} {
		t.Run(name, func(t *testing.T) {
			x := &exchange{agents: map[ident.PeerID]*testAgent{}}
			a, b := newAgent(t, x), newAgent(t, x)
			a.direct, b.direct = "tls://a:7574", "tls://b:7574"
			a.dialDirect = func(string) (link.Link, error) { return nil, errors.New("blocked") }
			b.dialDirect = func(address string) (link.Link, error) {
				if address != a.direct {
					return nil, errors.New("no such address")
				}
				path := link.Path{Rank: link.RankTLS, Transport: "tls", Encrypted: true}
				out, in := linktest.Pair(b.key.ID(), a.key.ID(), path)
				a.peer.Accept(in)
				return out, nil
			}
			a.run(t, b.key.ID())
			b.run(t, a.key.ID())
			defer b.peer.Want()()
			isUDP := func(s Status) bool {
				return slices.ContainsFunc(s.Session.Links, func(l session.LinkStatus) bool {
					return l.Active && l.Path.Transport == "quic"
				})
			}
			a.until(t, "linked over UDP", isUDP)
			b.until(t, "linked over UDP", isUDP)
			seeker(a, b).peer.onSessionEvent(session.Event{Kind: session.Seek})
			for _, agent := range []*testAgent{a, b} {
				agent.until(t, "a link over TLS joins", func(s Status) bool {
					return isUDP(s) && slices.ContainsFunc(s.Session.Links, func(l session.LinkStatus) bool {
						return l.Path.Transport == "tls"
					})
				})
			}
		})
	}
}

// directAddresses returns the direct addresses of an agent.
func (a *testAgent) directAddresses() []string {
	if a.direct == "" {
		return nil
	}
	return []string{a.direct}
}

func (a *testAgent) dial(_ context.Context, address string, _ ident.PeerID) (link.Link, error) {
	if a.dialDirect == nil {
		return nil, errors.New("no direct address")
	}
	return a.dialDirect(address)
}
