package transport_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

var (
	udpPath = link.Path{Rank: link.RankHost, Transport: "quic", Encrypted: true}
	tlsPath = link.Path{Rank: link.RankTLS, Transport: "tls", Encrypted: true}

	policed = link.Stats{RTT: 60 * time.Millisecond, MinRTT: 20 * time.Millisecond, Loss: 0.1}
	clean   = link.Stats{RTT: 25 * time.Millisecond, MinRTT: 20 * time.Millisecond, Loss: 0.02}
)

// choiceTick is the time that a packet takes. It is long, so that minutes take few steps.
const choiceTick = 5 * time.Millisecond

const mbit = 1e6 / 8 // bytes per second

// choiceScene is a disk that fills the link from a to b, and a keyboard.
type choiceScene struct {
	*narrowScene
	pushed  int
	tlsRate float64 // of the link over TLS that a gets when it seeks one; 0: none
	tls     *narrowLink
	seeks   int
	latest  time.Duration // of the key presses
}

const (
	diskFrame = 64 << 10
	diskAhead = 16 // frames
)

// run fills the link for a while. A key is pressed four times a second.
func (s *choiceScene) run(d time.Duration) {
	s.t.Helper()
	const tick = 50 * time.Millisecond
	pressed := time.Time{}
	for n := range int(d / tick) {
		s.to.mu.Lock()
		arrived, keys := len(s.to.at[laneOf(0)]), s.to.at[laneOf(1)]
		s.to.mu.Unlock()
		s.push(0, tunnel.ClassBulk, arrived+diskAhead-s.pushed, diskFrame)
		s.pushed = arrived + diskAhead
		if n%5 == 0 {
			if !pressed.IsZero() {
				if len(keys) == 0 || keys[len(keys)-1].Before(pressed) {
					s.t.Fatal("a key press took more than 250 ms")
				}
				s.latest = max(s.latest, keys[len(keys)-1].Sub(pressed))
			}
			pressed = time.Now()
			s.push(1, tunnel.ClassInteractive, 1, 20)
		}
		time.Sleep(tick)
		if events := s.a.takeEvents(); slices.Contains(events, "seek") {
			s.seeks++
			if s.tlsRate > 0 {
				s.tls = s.connect(tlsPath, s.tlsRate, clean)
			}
		}
	}
}

// rate returns the bytes per second of the disk in a while.
func (s *choiceScene) rate(d time.Duration) float64 {
	count := func() int {
		s.to.mu.Lock()
		defer s.to.mu.Unlock()
		return len(s.to.at[laneOf(0)])
	}
	before := count()
	s.run(d)
	return float64(count()-before) * diskFrame / d.Seconds()
}

// active returns the transport of the link that a sends on.
func (s *choiceScene) active() string {
	for _, l := range s.a.Status().Links {
		if l.Active {
			return l.Link.Info().Path.Transport
		}
	}
	return ""
}

func newChoiceScene(t *testing.T, udp float64, stats link.Stats, tls float64) *choiceScene {
	s := &choiceScene{narrowScene: newNarrowScene(t), tlsRate: tls}
	old := s.link
	s.tick = choiceTick
	s.link = s.narrowScene.connect(udpPath, udp, stats)
	old.Close("only the new link is needed")
	synctest.Wait()
	return s
}

func TestPolicedUDPGivesWayToTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newChoiceScene(t, mbit, policed, 20*mbit)
		defer s.end()
		s.run(10 * time.Second)
		if got := s.rate(10 * time.Second); got < 15*mbit || s.active() != "tls" {
			t.Fatalf("%.1f Mbit/s over %s after 10 s", got/mbit, s.active())
		}
		const want = "UDP carried only 1.0 Mbit/s with 10 % loss, TLS carries "
		if got := s.a.Status().Choice; !strings.Contains(got, want) {
			t.Errorf("the reason is %q", got)
		}
		if s.latest > 5*choiceTick {
			t.Errorf("a key press took %v", s.latest)
		}
		s.run(time.Minute)
		if s.link.Ended() || s.tls.Ended() || s.seeks != 1 {
			t.Errorf("ended: UDP %t, TLS %t; sought %d times", s.link.Ended(), s.tls.Ended(), s.seeks)
		}

		s.link.become(20*mbit, clean) // nobody polices any more
		s.run(11 * time.Minute)
		if got := s.active(); got != "quic" {
			t.Errorf("sends over %s although UDP carries more", got)
		}
		if got := s.a.Status().Choice; got != "" {
			t.Errorf("the reason is %q", got)
		}
		s.run(time.Minute)
		if s.link.Ended() || !s.tls.Ended() {
			t.Errorf("ended: UDP %t, TLS %t", s.link.Ended(), s.tls.Ended())
		}
	})
}

func TestLinkThatIsNoBetterIsTriedRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newChoiceScene(t, mbit, policed, mbit)
		defer s.end()
		s.run(15 * time.Minute)
		if s.active() != "quic" || s.seeks < 2 || s.seeks > 4 {
			t.Errorf("sends over %s and sought %d times in 15 minutes", s.active(), s.seeks)
		}
		if switches := s.a.Counters().Switches; switches > 10 {
			t.Errorf("%d switches in 15 minutes", switches)
		}
	})
}

func TestGoodUDPLinkStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newChoiceScene(t, 30*mbit, clean, 100*mbit)
		defer s.end()
		s.run(2 * time.Minute)
		if s.active() != "quic" || s.seeks != 0 {
			t.Errorf("sends over %s and sought %d times", s.active(), s.seeks)
		}
	})
}

func TestLossOfTLSReturnsToUDP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newChoiceScene(t, mbit, policed, 20*mbit)
		defer s.end()
		s.run(10 * time.Second)
		s.tls.Close("lost")
		s.run(time.Second)
		if s.active() != "quic" || s.a.Status().Choice != "" {
			t.Errorf("sends over %s: %q", s.active(), s.a.Status().Choice)
		}
	})
}

// oldLink is a link of an agent that does not know the features of a Hello.
type oldLink struct{ link.Link }

func (l oldLink) Send(f tunnel.Frame) error {
	if f.Kind == tunnel.KindHello {
		h, err := tunnel.DecodeHello(f.Body)
		if err != nil {
			return err
		}
		h.Features = nil
		f.Body = h.Encode()
	}
	return l.Link.Send(f)
}

func TestOldPeerKeepsOrderOfRanks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newChoiceScene(t, 20*mbit, clean, 20*mbit)
		defer s.end()
		out, in := linktest.Pair(ident.PeerID{1}, ident.PeerID{2}, udpPath)
		s.a.Join(newNarrowLink(out, s.tick, mbit, policed))
		s.b.Join(oldLink{in})
		synctest.Wait()
		s.link.Close("only the new link is needed")
		s.run(30 * time.Second)
		if s.active() != "quic" || s.seeks != 0 {
			t.Errorf("sends over %s and sought %d times", s.active(), s.seeks)
		}
	})
}
