package hub

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testRegistry is a registry in memory.
type testRegistry struct {
	mu      sync.Mutex
	refused map[ident.PeerID]error
	allowed map[Route]bool
	failing error
	hanging chan struct{} // if not nil, questions are answered only after it is closed
}

func newTestRegistry() *testRegistry {
	return &testRegistry{refused: map[ident.PeerID]error{}, allowed: map[Route]bool{}}
}

func (b *testRegistry) Admit(_ context.Context, id ident.PeerID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refused[id]
}

func (b *testRegistry) Allowed(ctx context.Context, r Route) (bool, error) {
	b.mu.Lock()
	hanging := b.hanging
	b.mu.Unlock()
	if hanging != nil {
		select {
		case <-hanging:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.allowed[r], b.failing
}

// hang delays all answers until release is called.
func (b *testRegistry) hang() (release func()) {
	hanging := make(chan struct{})
	b.change(func() { b.hanging = hanging })
	return func() { close(hanging) }
}

// change changes the registry.
func (b *testRegistry) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// testCluster is a cluster whose other instances have no peers.
type testCluster struct {
	reports chan linkReport
	others  bool // there are other instances
}

// linkReport is a link report and the peer that sent it.
type linkReport struct {
	from ident.PeerID
	m    signal.LinkReport
}

func (a testCluster) ReportLink(id ident.PeerID, _ time.Time, m signal.LinkReport) {
	a.reports <- linkReport{id, m}
}

func (testCluster) Connected(ident.PeerID, time.Time) {}

func (testCluster) Disconnected(ident.PeerID, time.Time) {}

func (testCluster) Now() time.Time { return time.Now() }

func (a testCluster) Others(context.Context) bool { return a.others }

// Forward finds no peer.
func (testCluster) Forward(_ context.Context, _, _ ident.PeerID, _ []byte, done func(error)) {
	done(signal.FailureOffline)
}

// server is a hub behind a TLS listener on loopback.
type server struct {
	*Hub
	registry *testRegistry
	reports  chan linkReport
	address  string
	tls      *tls.Config
}

func start(t *testing.T) *server { return startAt(t, time.Now) }

// startAt runs a hub with a clock.
func startAt(t *testing.T, now func() time.Time) *server { return startAs(t, now, false) }

// startAs runs a hub with a clock, and with other instances or without.
func startAs(t *testing.T, now func() time.Time, others bool) *server {
	t.Helper()
	s := &server{registry: newTestRegistry(), reports: make(chan linkReport, 64)}
	var err error
	if s.Hub, err = New(Config{
		Registry: s.registry, Cluster: testCluster{s.reports, others}, Features: signal.FeatureLinkReports,
		Logger: slog.New(slog.DiscardHandler), Now: now,
	}); err != nil {
		t.Fatal(err)
	}
	cert, err := key(t, 99).Certificate()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{cert}, NextProtos: []string{signal.ALPN}, MinVersion: tls.VersionTLS13,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	s.tls = &tls.Config{InsecureSkipVerify: true, NextProtos: []string{signal.ALPN}}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				if conn := conn.(*tls.Conn); conn.Handshake() != nil {
					conn.Close()
				} else {
					s.Serve(t.Context(), conn)
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		ctx, cancel := context.WithTimeout(context.Background(), waittest.Timeout)
		defer cancel()
		s.Drain(ctx)
		serving.Wait()
	})
	return s
}

// allow makes the registry allow messages from one peer to another.
func (s *server) allow(from, to ident.Key) {
	s.registry.change(func() { s.registry.allowed[Route{From: from.ID(), To: to.ID()}] = true })
}

func key(t *testing.T, seed byte) ident.Key {
	t.Helper()
	k, err := ident.KeyFromSeed(bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// agent is a peer that a test controls frame by frame.
type agent struct {
	t    *testing.T
	conn *tls.Conn
	in   *signal.Reader
}

// dial connects a peer and answers the challenge.
func (s *server) dial(t *testing.T, k ident.Key) *agent {
	t.Helper()
	a, challenge := s.knock(t)
	a.hello(k, challenge)
	return a
}

// knock connects and reads the challenge.
func (s *server) knock(t *testing.T) (*agent, signal.Challenge) {
	t.Helper()
	conn, err := tls.Dial("tcp", s.address, s.tls)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(waittest.Timeout))
	a := &agent{t: t, conn: conn, in: signal.NewReader(conn)}
	challenge, ok := a.read().(signal.Challenge)
	if !ok {
		t.Fatal("no challenge")
	}
	return a, challenge
}

// hello answers the challenge.
func (a *agent) hello(k ident.Key, challenge signal.Challenge) {
	a.t.Helper()
	bound, err := signal.BoundToTLS(a.conn.ConnectionState())
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(signal.NewHello(k, challenge, bound))
	a.in.Greeted()
}

// connect connects a peer and waits until it is online.
func (s *server) connect(t *testing.T, k ident.Key) *agent {
	t.Helper()
	a := s.dial(t, k)
	if m := a.read(); m != (signal.Welcome{Idle: signal.IdleTimeout}) {
		t.Fatalf("got %#v, want a Welcome", m)
	}
	waittest.Until(t, "the peer is online", func() bool { return s.Online(k.ID()) })
	return a
}

func (a *agent) write(m signal.FromPeer) {
	a.t.Helper()
	if _, err := a.conn.Write(signal.AppendFromPeer(nil, m)); err != nil {
		a.t.Fatal(err)
	}
}

func (a *agent) read() signal.FromRendezvous {
	a.t.Helper()
	m, err := a.in.FromRendezvous()
	if err != nil {
		a.t.Fatalf("read: %v", err)
	}
	return m
}

// bye reads until the Bye and the end of the stream, and returns the code of the Bye.
func (a *agent) bye() signal.ByeCode {
	a.t.Helper()
	for {
		if bye, ok := a.read().(signal.Bye); ok {
			if _, err := a.in.FromRendezvous(); err == nil {
				a.t.Error("the stream goes on after the Bye")
			}
			return bye.Code
		}
	}
}

func (a *agent) expect(want signal.FromRendezvous) {
	a.t.Helper()
	if got := a.read(); fmt.Sprint(got) != fmt.Sprint(want) {
		a.t.Fatalf("got %#v, want %#v", got, want)
	}
}

// connection returns the connection of the agent in the hub.
func (a *agent) connection(t *testing.T, s *server) *connection {
	t.Helper()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, one := range s.peers {
		if one.stream.RemoteAddr().String() == a.conn.LocalAddr().String() {
			return one
		}
	}
	t.Fatal("the hub has no such connection")
	return nil
}
