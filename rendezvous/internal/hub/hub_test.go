package hub

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

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
type alone struct{ paths chan told }

// told is what it is told of a link.
type told struct {
	id ident.PeerID
	m  signal.Path
}

func (a alone) Path(id ident.PeerID, _ time.Time, m signal.Path) { a.paths <- told{id, m} }

func (alone) Connected(ident.PeerID, time.Time)    {}
func (alone) Disconnected(ident.PeerID, time.Time) {}

func (alone) Now() time.Time { return time.Now() }

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
func startAt(t *testing.T, now func() time.Time) *server {
	t.Helper()
	s := &server{book: newBook(), paths: make(chan told, 64)}
	var err error
	if s.Hub, err = New(Config{
		Registry: s.book, Cluster: alone{s.paths}, Features: signal.FeaturePaths, Logger: slog.New(slog.DiscardHandler), Now: now,
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
	bound, err := signal.BoundToTLS(conn.ConnectionState())
	if err != nil {
		t.Fatal(err)
	}
	a.write(signal.NewHello(k, challenge, bound))
	a.in.Greeted()
	return a
}

// connect dials and waits until the peer is welcome.
func (s *server) connect(t *testing.T, k ident.Key) *agent {
	t.Helper()
	a := s.dial(t, k)
	if m := a.read(); m != (signal.Welcome{Idle: signal.IdleTimeout}) {
		t.Fatalf("got %#v, want a Welcome", m)
	}
	eventually(t, "the peer is online", func() bool { return s.Online(k.ID()) })
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

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	over := time.NewTimer(patience)
	defer over.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-over.C:
			t.Fatalf("never: %s", what)
		}
	}
}

func TestAMessageIsSentOnceTheOtherPeerHasConfirmedIt(t *testing.T) {
	s := start(t)
	alice, bob := key(t, 1), key(t, 2)
	s.allow(bob, alice)
	a, b := s.connect(t, alice), s.connect(t, bob)
	a.write(signal.Send{ID: 7, To: bob.ID(), Body: []byte("offer")})
	b.expect(signal.Deliver{Number: 1, From: alice.ID(), Body: []byte("offer")})
	a.write(signal.Ping{Token: [8]byte{1}})
	a.expect(signal.Pong{Token: [8]byte{1}}) // and no Sent before the confirmation
	b.write(signal.Got{Number: 1})
	a.expect(signal.Sent{ID: 7})
	b.write(signal.Got{Number: 1}) // a second one and an unknown one change nothing
	b.write(signal.Got{Number: 99})
	b.write(signal.Ping{})
	b.expect(signal.Pong{})
}

func TestASendThatReachesNobodyFails(t *testing.T) {
	s := start(t)
	alice, bob := key(t, 1), key(t, 2)
	a := s.connect(t, alice)
	a.write(signal.Send{ID: 1, To: bob.ID()})
	a.expect(signal.Failed{ID: 1, Code: signal.FailureNotAllowed})
	s.allow(bob, alice)
	a.write(signal.Send{ID: 2, To: bob.ID()})
	a.expect(signal.Failed{ID: 2, Code: signal.FailureOffline})
	a.write(signal.Send{ID: 3, To: alice.ID()})
	a.expect(signal.Failed{ID: 3, Code: signal.FailureNotAllowed})
	s.book.change(func() { s.book.failing = errors.New("the database is gone") })
	a.write(signal.Send{ID: 4, To: key(t, 3).ID()})
	a.expect(signal.Failed{ID: 4, Code: signal.FailureUnavailable})
	a.write(signal.Send{ID: 5, To: bob.ID()}) // its consent is remembered
	a.expect(signal.Failed{ID: 5, Code: signal.FailureOffline})
}

func TestWhatAPeerDidNotConfirmIsReportedWhenItsConnectionEnds(t *testing.T) {
	s := start(t)
	alice, bob := key(t, 1), key(t, 2)
	s.allow(bob, alice)
	a, b := s.connect(t, alice), s.connect(t, bob)
	a.write(signal.Send{ID: 1, To: bob.ID()})
	b.read()
	b.conn.NetConn().Close()
	a.expect(signal.Failed{ID: 1, Code: signal.FailureUnconfirmed})
	eventually(t, "bob is gone", func() bool { return !s.Online(bob.ID()) })
}

func TestAPeerWithTooMuchUnconfirmedIsBusy(t *testing.T) {
	s := start(t)
	alice, bob := key(t, 1), key(t, 2)
	s.allow(bob, alice)
	a := s.connect(t, alice)
	s.connect(t, bob) // it never confirms
	for id := range uint32(maxUnconfirmed + 1) {
		a.write(signal.Send{ID: id, To: bob.ID()})
	}
	a.expect(signal.Failed{ID: maxUnconfirmed, Code: signal.FailureBusy})
}

func TestAFloodingPeerIsLimitedAndOthersAreNot(t *testing.T) {
	s := start(t)
	alice, bob, carol := key(t, 1), key(t, 2), key(t, 3)
	s.allow(bob, alice)
	s.allow(bob, carol)
	a, b, c := s.connect(t, alice), s.connect(t, bob), s.connect(t, carol)
	for id := range uint32(2 * bucketSize) {
		a.write(signal.Send{ID: id, To: alice.ID()})
	}
	limited := 0
	for range int(2 * bucketSize) {
		if failed, ok := a.read().(signal.Failed); ok && failed.Code == signal.FailureRate {
			limited++
		}
	}
	if limited < bucketSize/2 {
		t.Errorf("%d of %d messages were limited", limited, int(2*bucketSize))
	}
	c.write(signal.Send{ID: 1, To: bob.ID(), Body: []byte("hello")})
	b.expect(signal.Deliver{Number: 1, From: carol.ID(), Body: []byte("hello")})
}

func TestTheNewestConnectionOfAPeerWins(t *testing.T) {
	s := start(t)
	alice, bob := key(t, 1), key(t, 2)
	s.allow(bob, alice)
	a, old := s.connect(t, alice), s.connect(t, bob)
	fresh := s.connect(t, bob)
	if code := old.bye(); code != signal.ByeReplaced {
		t.Errorf("the older connection ended with %d", code)
	}
	if n := s.Count(); n != 2 {
		t.Errorf("%d peers", n)
	}
	a.write(signal.Send{ID: 1, To: bob.ID()})
	fresh.expect(signal.Deliver{Number: 1, From: alice.ID(), Body: []byte{}})
}

func TestWhoMayNotConnectHearsWhy(t *testing.T) {
	s := start(t)
	for want, refusal := range map[signal.ByeCode]error{
		signal.ByeNotRegistered: ErrUnknown,
		signal.ByeRevoked:       ErrRevoked,
		signal.ByeUnavailable:   errors.New("the database is gone"),
	} {
		k := key(t, byte(want))
		s.book.change(func() { s.book.refused[k.ID()] = refusal })
		if code := s.dial(t, k).bye(); code != want {
			t.Errorf("%v: Bye %d, want %d", refusal, code, want)
		}
	}
}

func TestAHelloOfAnotherConnectionIsRefused(t *testing.T) {
	s := start(t)
	alice := key(t, 1)
	one, err := tls.Dial("tcp", s.address, s.tls)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	two, err := tls.Dial("tcp", s.address, s.tls)
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	two.SetDeadline(time.Now().Add(patience))
	in := signal.NewReader(two)
	challenge, err := in.FromRendezvous()
	if err != nil {
		t.Fatal(err)
	}
	bound, err := signal.BoundToTLS(one.ConnectionState())
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{t: t, conn: two, in: in}
	a.write(signal.NewHello(alice, challenge.(signal.Challenge), bound))
	if code := a.bye(); code != signal.ByeRefused {
		t.Errorf("Bye %d, want %d", code, signal.ByeRefused)
	}
	if s.Online(alice.ID()) {
		t.Error("it is online")
	}
}

func TestARevokedPeerIsSentAway(t *testing.T) {
	s := start(t)
	alice := key(t, 1)
	a := s.connect(t, alice)
	s.Revoke(alice.ID())
	if code := a.bye(); code != signal.ByeRevoked {
		t.Errorf("Bye %d", code)
	}
	eventually(t, "she is gone", func() bool { return s.Count() == 0 })
}

func TestAWithdrawnConsentCountsWithinSeconds(t *testing.T) {
	var passed atomic.Int64
	s := startAt(t, func() time.Time { return time.Now().Add(time.Duration(passed.Load())) })
	alice, bob := key(t, 1), key(t, 2)
	s.allow(bob, alice)
	a := s.connect(t, alice)
	a.write(signal.Send{ID: 1, To: bob.ID()})
	a.expect(signal.Failed{ID: 1, Code: signal.FailureOffline})
	s.book.change(func() { clear(s.book.allowed) })
	passed.Store(int64(consentFresh))
	a.write(signal.Send{ID: 2, To: bob.ID()})
	a.expect(signal.Failed{ID: 2, Code: signal.FailureNotAllowed})
}

func TestDrainTellsEveryPeerAndTakesNobody(t *testing.T) {
	s := start(t)
	a := s.connect(t, key(t, 1))
	done := make(chan error, 1)
	go func() { done <- s.Drain(context.Background()) }()
	if code := a.bye(); code != signal.ByeDraining {
		t.Errorf("Bye %d", code)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	late := tls.Client(conn, s.tls)
	late.SetDeadline(time.Now().Add(patience))
	m, err := signal.NewReader(late).FromRendezvous()
	if bye, ok := m.(signal.Bye); err != nil || !ok || bye.Code != signal.ByeDraining {
		t.Errorf("a draining hub says %#v, %v", m, err)
	}
}

// TestDrainTakesWhatIsConfirmedMeanwhile: a peer that is told to go still
// confirms what it got before.
func TestDrainTakesWhatIsConfirmedMeanwhile(t *testing.T) {
	s := start(t)
	alice, bob := key(t, 1), key(t, 2)
	s.allow(bob, alice)
	a, b := s.connect(t, alice), s.connect(t, bob)
	a.write(signal.Send{ID: 1, To: bob.ID()})
	got := b.read().(signal.Deliver)
	b.session(t, s).bye(signal.ByeDraining, "go")
	if bye, ok := b.read().(signal.Bye); !ok || bye.Code != signal.ByeDraining {
		t.Errorf("bob got %#v", bye)
	}
	a.write(signal.Send{ID: 2, To: bob.ID()})
	a.expect(signal.Failed{ID: 2, Code: signal.FailureOffline})
	b.write(signal.Got{Number: got.Number})
	a.expect(signal.Sent{ID: 1})
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

// TestASilentRegistryStopsNobodyWhoIsKnown: while the database hangs, what is
// sent to known peers arrives, pings are answered, and a message to an unknown
// one fails in time and delays nothing else.
func TestASilentRegistryStopsNobodyWhoIsKnown(t *testing.T) {
	var passed atomic.Int64
	s := startAt(t, func() time.Time { return time.Now().Add(time.Duration(passed.Load())) })
	alice, bob, carol := key(t, 1), key(t, 2), key(t, 3)
	s.allow(bob, alice)
	a, b := s.connect(t, alice), s.connect(t, bob)
	a.write(signal.Send{ID: 1, To: bob.ID()})
	b.expect(signal.Deliver{Number: 1, From: alice.ID()})
	b.write(signal.Got{Number: 1})
	a.expect(signal.Sent{ID: 1})
	release := s.book.hang()
	passed.Store(int64(consentFresh)) // the consent is stale
	a.write(signal.Send{ID: 2, To: carol.ID()})
	for n := range uint32(3) {
		a.write(signal.Send{ID: 3 + n, To: bob.ID(), Body: []byte{byte(n)}})
	}
	a.write(signal.Ping{Token: [8]byte{1}})
	a.expect(signal.Pong{Token: [8]byte{1}})
	for n := range uint32(3) {
		b.expect(signal.Deliver{Number: 2 + n, From: alice.ID(), Body: []byte{byte(n)}})
		b.write(signal.Got{Number: 2 + n})
		a.expect(signal.Sent{ID: 3 + n})
	}
	a.expect(signal.Failed{ID: 2, Code: signal.FailureUnavailable})
	release()
}

func TestABrokenFrameEndsTheConnectionWithAReason(t *testing.T) {
	s := start(t)
	a := s.connect(t, key(t, 1))
	a.conn.Write([]byte{0xff, 0xff, 0xff, 0xff, 18})
	if code := a.bye(); code != signal.ByeProtocol {
		t.Errorf("Bye %d", code)
	}
}

func TestAPeerThatSendsAndNeverReadsIsCutOff(t *testing.T) {
	s := start(t)
	alice := key(t, 1)
	a := s.connect(t, alice)
	pings := bytes.Repeat(signal.AppendFromPeer(nil, signal.Ping{}), 4096)
	a.conn.SetWriteDeadline(time.Now().Add(patience))
	for {
		if _, err := a.conn.Write(pings); err != nil {
			break
		}
	}
	eventually(t, "she is gone", func() bool { return !s.Online(alice.ID()) })
}
