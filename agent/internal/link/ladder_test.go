package link_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rung makes a link, or fails with err, after a time.
type rung struct {
	name  string
	rank  link.Rank
	makes link.Rank // the rank of the link; 0 means rank
	after time.Duration
	err   error

	began     time.Time
	made      *linktest.Memory
	cancelled bool // its context ended first
}

func (r *rung) Name() string    { return r.name }
func (r *rung) Rank() link.Rank { return r.rank }

func (r *rung) Dial(ctx context.Context) (link.Link, error) {
	r.began = time.Now()
	select {
	case <-time.After(r.after):
	case <-ctx.Done():
		r.cancelled = true
		return nil, ctx.Err()
	}
	if r.err != nil {
		return nil, r.err
	}
	rank := r.rank
	if r.makes != 0 {
		rank = r.makes
	}
	r.made, _ = linktest.Pair(ident.PeerID{1}, ident.PeerID{2}, link.Path{Rank: rank})
	return r.made, nil
}

func (r *rung) closed() bool { return r.made != nil && r.made.Ended() }

type blockedError struct{}

func (blockedError) Error() string   { return "timeout: no recent network activity" }
func (blockedError) Explain() string { return "UDP gets no answer: blocked on this network" }

// climb runs a ladder and returns the ranks of the links that went to OnLink.
func climb(t *testing.T, ctx context.Context, steps ...link.Step) (*link.Ladder, []link.Rank, error) {
	t.Helper()
	var got []link.Rank
	l, err := link.NewLadder(link.LadderConfig{
		Steps: steps, Timeout: 10 * time.Second,
		OnLink: func(l link.Link) { got = append(got, l.Info().Path.Rank) },
	})
	if err != nil {
		t.Fatal(err)
	}
	err = l.Run(ctx)
	return l, got, err
}

func TestBetterLinksReplaceFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := &rung{name: "relay", rank: link.RankRelayUDP, after: 50 * time.Millisecond}
		tls := &rung{name: "TLS", rank: link.RankTLS, after: 200 * time.Millisecond}
		punched := &rung{name: "punched", rank: link.RankPunched, after: 100 * time.Millisecond}
		slow := &rung{name: "relay over TCP", rank: link.RankRelayTCP, after: time.Hour}
		began := time.Now()
		l, got, err := climb(t, t.Context(),
			link.Step{Rung: relay}, link.Step{Rung: tls}, link.Step{Rung: punched}, link.Step{Rung: slow})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 || got[0] != link.RankRelayUDP || got[1] != link.RankPunched {
			t.Errorf("got links %v, want the relayed one and then the punched one", got)
		}
		if !tls.cancelled || !slow.cancelled {
			t.Error("a rung that could not win was not cancelled")
		}
		if relay.closed() || punched.closed() {
			t.Error("a link that OnLink has taken over was closed")
		}
		if took := time.Since(began); took != 100*time.Millisecond {
			t.Errorf("the attempt took %v, want the time of its best rung", took)
		}
		if why := l.Why(link.RankPunched); why != "" {
			t.Errorf("Why returned %q although no better path exists", why)
		}
	})
}

// stubborn ignores its context, like a handshake in its last step.
type stubborn struct{ *rung }

func (s stubborn) Dial(context.Context) (link.Link, error) {
	return s.rung.Dial(context.Background())
}

func TestLaterWorseLinkIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		best := &rung{name: "direct", rank: link.RankHost, after: time.Millisecond}
		late := &rung{name: "TLS", rank: link.RankTLS, after: time.Second}
		l, got, err := climb(t, t.Context(), link.Step{Rung: best}, link.Step{Rung: stubborn{late}})
		if err != nil || len(got) != 1 {
			t.Fatalf("got links %v, error %v", got, err)
		}
		if !late.closed() {
			t.Error("the worse link is still open")
		}
		if o := l.Explain(); o[0].Result != link.Won || o[1].Result != link.NotNeeded {
			t.Errorf("outcomes: %+v", o)
		}
	})
}

func TestDelayedRungStartsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		direct := &rung{name: "direct", rank: link.RankHost, after: 30 * time.Second}
		tls := &rung{name: "TLS", rank: link.RankTLS, after: time.Second}
		_, got, err := climb(t, t.Context(), link.Step{Rung: direct}, link.Step{Rung: tls, Delay: 2 * time.Second})
		if err != nil || len(got) != 1 {
			t.Fatalf("got links %v, error %v", got, err)
		}
		if start := tls.began.Sub(began); start != 2*time.Second {
			t.Errorf("the delayed rung began after %v", start)
		}
	})
}

func TestDelayedRungStartsEarlyWhenOthersFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		direct := &rung{name: "direct", rank: link.RankHost, after: time.Second, err: blockedError{}}
		tls := &rung{name: "TLS", rank: link.RankTLS}
		l, got, err := climb(t, t.Context(), link.Step{Rung: direct}, link.Step{Rung: tls, Delay: 8 * time.Second})
		if err != nil || len(got) != 1 {
			t.Fatalf("got links %v, error %v", got, err)
		}
		if start := tls.began.Sub(began); start != time.Second {
			t.Errorf("the delayed rung began after %v, want 1s, when the other one failed", start)
		}
		if why := l.Why(link.RankTLS); why != "direct: UDP gets no answer: blocked on this network" {
			t.Errorf("why: %q", why)
		}
	})
}

func TestRungThatCannotBeBetterIsNotTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		direct := &rung{name: "direct", rank: link.RankHost, after: time.Millisecond}
		relay := &rung{name: "relay", rank: link.RankRelayUDP}
		l, got, err := climb(t, t.Context(), link.Step{Rung: direct}, link.Step{Rung: relay, Delay: time.Second})
		if err != nil || len(got) != 1 || !relay.began.IsZero() {
			t.Fatalf("got links %v, error %v, the relay began at %v", got, err, relay.began)
		}
		if o := l.Explain(); o[1].Result != link.NotTried {
			t.Errorf("outcomes: %+v", o)
		}
	})
}

func TestErrorNamesEveryFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		refused := errors.New("nobody listens at 192.0.2.7:7574")
		l, got, err := climb(t, t.Context(),
			link.Step{Rung: &rung{name: "direct", rank: link.RankHost, after: time.Second, err: blockedError{}}},
			link.Step{Rung: &rung{name: "TLS", rank: link.RankTLS, err: refused}},
			link.Step{Rung: &rung{name: "relay", rank: link.RankRelayUDP, after: time.Hour}})
		for _, want := range []error{link.ErrNoPath, refused, blockedError{}} {
			if len(got) != 0 || !errors.Is(err, want) {
				t.Fatalf("got links %v, error %v, want %v in it", got, err, want)
			}
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("the attempt took %v, want its timeout", took)
		}
		want := "direct: UDP gets no answer: blocked on this network; " +
			"TLS: nobody listens at 192.0.2.7:7574; relay: no answer within 10s"
		if why := l.Why(0); !strings.HasPrefix(why, want) {
			t.Errorf("why: %q", why)
		}
	})
}

func TestRungWithWorseLinkThanItsRankStopsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ice := &rung{name: "UDP", rank: link.RankHost, makes: link.RankRelayUDP, after: time.Millisecond}
		tls := &rung{name: "TLS", rank: link.RankTLS, after: time.Second}
		l, got, err := climb(t, t.Context(), link.Step{Rung: ice}, link.Step{Rung: tls})
		if err != nil || len(got) != 2 || got[1] != link.RankTLS {
			t.Fatalf("got links %v, error %v", got, err)
		}
		if why := l.Why(link.RankTLS); why != "UDP: found no better path than one that is relayed" {
			t.Errorf("why: %q", why)
		}
	})
}

func TestCancelledAttemptEndsItsRungs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		never := &rung{name: "direct", rank: link.RankHost, after: time.Hour}
		if _, got, err := climb(t, ctx, link.Step{Rung: never}); err != nil || len(got) != 0 || !never.cancelled {
			t.Errorf("got links %v, error %v, rung cancelled: %v", got, err, never.cancelled)
		}
	})
}

func TestLadderWithoutRungsFails(t *testing.T) {
	if _, _, err := climb(t, t.Context()); !errors.Is(err, link.ErrNoPath) {
		t.Errorf("error %v", err)
	}
}
