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

const patience = 10 * time.Second

// book is a registry in memory: who may connect, and who lets whom signal it.
type book struct {
	mu      sync.Mutex
	refused map[ident.PeerID]error
	allowed map[pair]bool
	failing error
	hanging chan struct{} // until it is closed, no question is answered; nil is no such thing
}

func newBook() *book {
	return &book{refused: map[ident.PeerID]error{}, allowed: map[pair]bool{}}
}

func (b *book) Admit(_ context.Context, id ident.PeerID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refused[id]
}

func (b *book) Allowed(ctx context.Context, owner, other ident.PeerID) (bool, error) {
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
	return b.allowed[pair{owner, other}], b.failing
}

// hang has no question answered until release.
func (b *book) hang() (release func()) {
	hanging := make(chan struct{})
	b.change(func() { b.hanging = hanging })
	return func() { close(hanging) }
}

func (b *book) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// alone is the cluster of an instance without others.
type alone struct {
	paths  chan told
	others bool // as if there were some
}

// told is what it is told of a link.
type told struct {
	id ident.PeerID
	m  signal.LinkReport
}

func (a alone) Path(id ident.PeerID, _ time.Time, m signal.LinkReport) { a.paths <- told{id, m} }

func (alone) Connected(ident.PeerID, time.Time) {}

func (alone) Disconnected(ident.PeerID, time.Time) {}

func (alone) Now() time.Time { return time.Now() }

func (a alone) Others(context.Context) bool { return a.others }

// Forward knows no other instance.
func (alone) Forward(_ context.Context, _, _ ident.PeerID, _ []byte, done func(error)) {
	done(signal.FailureOffline)
}

// server is a hub behind a TLS listener on loopback.
type server struct {
	*Hub
	book    *book
	paths   chan told
	address string
	tls     *tls.Config
}

func start(t *testing.T) *server { return startAt(t, time.Now) }

// startAt runs a hub whose clock is now.
func startAt(t *testing.T, now func() time.Time) *server { return startAs(t, now, false) }

// startAs runs one that has others to send its peers to, or none.
func startAs(t *testing.T, now func() time.Time, others bool) *server {
	t.Helper()
	s := &server{book: newBook(), paths: make(chan told, 64)}
	var err error
	if s.Hub, err = New(Config{
		Registry: s.book, Cluster: alone{s.paths, others}, Features: signal.FeatureLinkReports, Logger: slog.New(slog.DiscardHandler), Now: now,
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
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		s.Drain(ctx)
		serving.Wait()
	})
	return s
}

func (s *server) allow(owner, other ident.Key) {
	s.book.change(func() { s.book.allowed[pair{owner.ID(), other.ID()}] = true })
}

func key(t *testing.T, seed byte) ident.Key {
	t.Helper()
	k, err := ident.KeyFromSeed(bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// agent is the other end of a session, frame by frame.
type agent struct {
	t    *testing.T
	conn *tls.Conn
	in   *signal.Reader
}

// dial connects and answers the challenge.
func (s *server) dial(t *testing.T, k ident.Key) *agent {
	t.Helper()
	a, challenge := s.knock(t)
	a.hello(k, challenge)
	return a
}

// knock connects and is challenged.
func (s *server) knock(t *testing.T) (*agent, signal.Challenge) {
	t.Helper()
	conn, err := tls.Dial("tcp", s.address, s.tls)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
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

// connect dials and waits until the peer is welcome.
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

// bye reads until the Bye.
func (a *agent) bye() signal.ByeCode {
	a.t.Helper()
	for {
		if bye, ok := a.read().(signal.Bye); ok {
			if _, err := a.in.FromRendezvous(); err == nil {
				a.t.Error("the connection goes on after Bye")
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

// session is the hub's side of the agent's connection.
func (a *agent) session(t *testing.T, s *server) *session {
	t.Helper()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, one := range s.peers {
		if one.conn.RemoteAddr().String() == a.conn.LocalAddr().String() {
			return one
		}
	}
	t.Fatal("no such session")
	return nil
}
