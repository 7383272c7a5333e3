package swarm_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/deploy/load/swarm"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const timeout = time.Minute

// server is a rendezvous that can be stopped and started again.
type server struct {
	t      *testing.T
	config rendezvous.Config
	stop   func()
	link   string
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, config: rendezvous.Config{Listen: "127.0.0.1:0", STUNListen: "127.0.0.1:0", Data: t.TempDir()}}
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *server) start() {
	s.t.Helper()
	ready := make(chan string, 1)
	s.config.OnReady = func(link string) { ready <- link }
	r, err := rendezvous.New(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	failed := make(chan error, 1)
	running.Go(func() { failed <- r.Run(ctx) })
	s.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	select {
	case s.link = <-ready:
	case err := <-failed:
		s.t.Fatal(err)
	}
}

// newSwarm returns a swarm of n registered peers.
func newSwarm(t *testing.T, link string, n int) (*swarm.Swarm, []*swarm.Peer) {
	t.Helper()
	join, err := api.ParseJoinLink(link)
	if err != nil {
		t.Fatal(err)
	}
	s, err := swarm.New(swarm.Config{Join: join, Sources: netip.MustParsePrefix("127.0.0.0/8"), Resume: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	peers, rate, err := s.Register(t.Context(), n, 4, 5)
	if err != nil || len(peers) != n || rate.Done != n || len(rate.Latency) != n || rate.PerSecond() <= 0 {
		t.Fatalf("registered %d at %.0f a second, %d times: %v", len(peers), rate.PerSecond(), len(rate.Latency), err)
	}
	return s, peers
}

func TestPeersRegisterConnectTalkAndLeave(t *testing.T) {
	server := newServer(t)
	s, peers := newSwarm(t, server.link, 23)
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	if err := s.Connect(ctx, peers, 8); err != nil || s.Online() != len(peers) || s.At()[0] != len(peers) {
		t.Fatalf("%d online: %v", s.Online(), err)
	}
	pairs := swarm.Pairs(peers, 8)
	if err := s.Allow(ctx, pairs[:7], 3); err != nil {
		t.Fatal(err)
	}
	m, err := s.Send(ctx, pairs, swarm.Load{PerSecond: 80, During: time.Second, Bytes: 416})
	if err != nil || m.Offered != 80 || len(m.Delivered) != 70 || len(m.Confirmed) != 70 ||
		m.Lost+m.Cut+m.Untrue+m.Unwritten != 0 {
		t.Errorf("%d messages, %d delivered, %d confirmed, %d lost, %d unwritten: %v", m.Offered, len(m.Delivered),
			len(m.Confirmed), m.Lost, m.Unwritten, err)
	}
	failed := 0
	for _, n := range m.Failed {
		failed += n
	}
	if failed != 10 {
		t.Errorf("of the pair that is not allowed, failed: %v", m.Failed)
	}
	if r, err := s.Lookup(ctx, pairs[:7], 3, time.Second); err != nil || r.Done == 0 {
		t.Errorf("%d lookups: %v", r.Done, err)
	}
	if err := s.Remove(ctx, peers, 4); err != nil {
		t.Error(err)
	}
	var p *api.Problem
	if err := s.Remove(ctx, peers, 4); !errors.As(err, &p) || p.Code != api.CodeUnauthenticated {
		t.Errorf("removed twice: %v", err)
	}
}

func TestPeersComeBack(t *testing.T) {
	server := newServer(t)
	s, peers := newSwarm(t, server.link, 10)
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	if err := s.Connect(ctx, peers, 10); err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	server.config.Listen = hostOf(t, server.link)
	server.stop()
	server.start()
	r := s.Await(ctx, at, 0)
	if r.Lost != len(peers) || len(r.Back) != len(peers) || r.Back.Quantile(0) <= 0 || s.Online() != len(peers) {
		t.Errorf("%d lost, %d back, the first after %s, %d online", r.Lost, len(r.Back), r.Back.Quantile(0), s.Online())
	}
	if h, err := s.Handshake(ctx, 2, 100*time.Millisecond, false); err != nil || h.Done == 0 || h.Resumed != 0 {
		t.Errorf("%d handshakes, %d resumed: %v", h.Done, h.Resumed, err)
	}
}

func hostOf(t *testing.T, link string) string {
	t.Helper()
	join, err := api.ParseJoinLink(link)
	if err != nil {
		t.Fatal(err)
	}
	return join.Host
}

func TestWhatIsNotThereIsAnError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	s, err := swarm.New(swarm.Config{Join: api.JoinLink{Host: l.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if peers, _, err := s.Register(t.Context(), 2, 2, 1); err == nil || len(peers) != 0 {
		t.Errorf("%d peers registered at nobody: %v", len(peers), err)
	}
	if _, err := s.Handshake(t.Context(), 1, time.Second, false); err == nil {
		t.Error("a handshake with nobody")
	}
	if _, err := s.Send(t.Context(), nil, swarm.Load{PerSecond: 1, Bytes: 100}); err == nil {
		t.Error("messages between nobody")
	}
	if _, err := swarm.New(swarm.Config{}); err == nil {
		t.Error("a swarm without a rendezvous")
	}
}

func TestQuantiles(t *testing.T) {
	var l swarm.Latencies
	if l.Quantile(0.5) != 0 {
		t.Error("a quantile of nothing")
	}
	for i := range 1000 {
		l = append(l, time.Duration(999-i))
	}
	for q, want := range map[float64]time.Duration{0: 0, 0.5: 500, 0.99: 990, 0.999: 999, 1: 999} {
		if got := l.Quantile(q); got != want {
			t.Errorf("quantile %g is %d, want %d", q, got, want)
		}
	}
}
