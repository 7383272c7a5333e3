package hub

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// here is the origin of the rendezvous.
const here = ident.Origin("https://rendezvous.example.org:443")

var both = []string{signal.SubprotocolTLS, signal.SubprotocolOrigin}

// web serves the WebSockets of the hub over TLS. With an origin, they come from a trusted proxy.
func (s *server) web(t *testing.T, origin ident.Origin) *httptest.Server {
	t.Helper()
	h := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.ServeWebSocket(w, r, netip.MustParseAddr("203.0.113.9"), origin, func() {})
	}))
	t.Cleanup(h.Close)
	return h
}

// browse opens a WebSocket.
func browse(
	t *testing.T, h *httptest.Server, header http.Header, subprotocols []string,
) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waittest.Timeout)
	defer cancel()
	options := &websocket.DialOptions{HTTPClient: h.Client(), HTTPHeader: header, Subprotocols: subprotocols}
	socket, answer, err := websocket.Dial(ctx, h.URL, options)
	if err == nil {
		t.Cleanup(func() { socket.CloseNow() })
	}
	return socket, answer, err
}

// webAgent opens a WebSocket with a subprotocol and reads the challenge.
func webAgent(
	t *testing.T, h *httptest.Server, want string,
) (*websocket.Conn, *signal.Reader, io.Writer, signal.Challenge) {
	t.Helper()
	socket, _, err := browse(t, h, nil, both)
	if err != nil {
		t.Fatal(err)
	}
	if got := socket.Subprotocol(); got != want {
		t.Fatalf("subprotocol %q, want %q", got, want)
	}
	ctx, cancel := context.WithTimeout(t.Context(), waittest.Timeout)
	t.Cleanup(cancel)
	conn := websocket.NetConn(ctx, socket, websocket.MessageBinary)
	socket.SetReadLimit(signal.MaxMessage)
	in := signal.NewReader(conn)
	m, err := in.FromRendezvous()
	challenge, ok := m.(signal.Challenge)
	if !ok {
		t.Fatalf("got %#v, %v, want a Challenge", m, err)
	}
	return socket, in, conn, challenge
}

// greetWeb answers the challenge and returns the next message.
func greetWeb(t *testing.T, in *signal.Reader, out io.Writer, hello signal.Hello) signal.FromRendezvous {
	t.Helper()
	if _, err := out.Write(signal.AppendFromPeer(nil, hello)); err != nil {
		t.Fatal(err)
	}
	m, err := in.FromRendezvous()
	if err != nil {
		t.Fatal(err)
	}
	in.Greeted()
	return m
}

func TestProxiedWebSocketIsBoundToTheOriginOnly(t *testing.T) {
	s := start(t)
	proxied := s.web(t, here)
	alice := key(t, 1)
	_, in, out, challenge := webAgent(t, proxied, signal.SubprotocolOrigin)
	m := greetWeb(t, in, out, signal.NewHello(alice, challenge, signal.BoundToOrigin(here)))
	if m != (signal.Welcome{Idle: signal.IdleTimeout}) {
		t.Errorf("got %#v, want a Welcome", m)
	}
	_, in, out, challenge = webAgent(t, proxied, signal.SubprotocolOrigin)
	elsewhere := signal.BoundToOrigin("https://rendezvous.example.net:443")
	bye, ok := greetWeb(t, in, out, signal.NewHello(alice, challenge, elsewhere)).(signal.Bye)
	if !ok || bye.Code != signal.ByeRefused || !strings.Contains(bye.Text, string(here)) {
		t.Errorf("for another origin: %#v", bye)
	}
	// A nonce is valid on one connection only.
	_, in, out, _ = webAgent(t, proxied, signal.SubprotocolOrigin)
	bye, ok = greetWeb(t, in, out, signal.NewHello(alice, challenge, signal.BoundToOrigin(here))).(signal.Bye)
	if !ok || bye.Code != signal.ByeRefused {
		t.Errorf("replayed: %#v", bye)
	}
}

func TestDirectWebSocketIsBoundToItsTLSConnectionOnly(t *testing.T) {
	s := start(t)
	direct := s.web(t, "")
	alice := key(t, 1)
	_, in, out, challenge := webAgent(t, direct, signal.SubprotocolTLS)
	bye, ok := greetWeb(t, in, out, signal.NewHello(alice, challenge, signal.BoundToOrigin(here))).(signal.Bye)
	if !ok || bye.Code != signal.ByeRefused {
		t.Errorf("for an origin: %#v", bye)
	}
	_, answer, err := browse(t, direct, nil, []string{signal.SubprotocolOrigin})
	if err == nil || answer.StatusCode != http.StatusBadRequest {
		t.Errorf("offering the origin alone: %v", err)
	}
	// The exporter of the connection that carries the request.
	socket, answer, err := browse(t, direct, nil, both)
	if err != nil {
		t.Fatal(err)
	}
	bound, err := signal.BoundToTLS(*answer.TLS)
	if err != nil {
		t.Fatal(err)
	}
	conn := websocket.NetConn(t.Context(), socket, websocket.MessageBinary)
	in = signal.NewReader(conn)
	m, err := in.FromRendezvous()
	if err != nil {
		t.Fatal(err)
	}
	m = greetWeb(t, in, conn, signal.NewHello(alice, m.(signal.Challenge), bound))
	if m != (signal.Welcome{Idle: signal.IdleTimeout}) {
		t.Errorf("got %#v, want a Welcome", m)
	}
}

func TestMessagesPassBetweenWebSocketAndTLS(t *testing.T) {
	s := start(t)
	alice, bob := key(t, 1), key(t, 2)
	s.allow(bob, alice)
	s.allow(alice, bob)
	b := s.connect(t, bob)
	socket, in, out, challenge := webAgent(t, s.web(t, here), signal.SubprotocolOrigin)
	greetWeb(t, in, out, signal.NewHello(alice, challenge, signal.BoundToOrigin(here)))

	// The boundaries of WebSocket messages have no meaning: two messages contain one frame.
	body := bytes.Repeat([]byte("x"), signal.MaxBody)
	frame := signal.AppendFromPeer(nil, signal.Send{ID: 1, To: bob.ID(), Body: body})
	out.Write(frame[:100])
	out.Write(frame[100:])
	if m, ok := b.read().(signal.Deliver); !ok || !bytes.Equal(m.Body, body) {
		t.Fatalf("got %#v", m)
	}
	b.write(signal.Got{Number: 1})
	if m, err := in.FromRendezvous(); m != (signal.Sent{ID: 1}) {
		t.Fatalf("got %#v, %v", m, err)
	}
	// The frames are together longer than one WebSocket message.
	const many = 5
	for i := range uint32(many) {
		b.write(signal.Send{ID: i, To: alice.ID(), Body: body})
	}
	for i := range uint32(many) {
		m, err := in.FromRendezvous()
		if d, ok := m.(signal.Deliver); !ok || !bytes.Equal(d.Body, body) {
			t.Fatalf("got %#v, %v", m, err)
		}
		out.Write(signal.AppendFromPeer(nil, signal.Got{Number: i + 1}))
		if m := b.read(); m != (signal.Sent{ID: i}) {
			t.Fatalf("got %#v", m)
		}
	}
	// The hub answers WebSocket pings, while the client reads.
	done := make(chan error, 1)
	go func() {
		_, err := in.FromRendezvous()
		done <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), waittest.Timeout)
	defer cancel()
	if err := socket.Ping(ctx); err != nil {
		t.Error(err)
	}
	s.Revoke(alice.ID())
	if err := <-done; err != nil {
		t.Errorf("no Bye came: %v", err)
	}
}

func TestRequestsThatAreNotSignallingAreRefused(t *testing.T) {
	s := start(t)
	h := s.web(t, here)
	for name, c := range map[string]struct {
		header       http.Header
		subprotocols []string
		status       int
	}{
		"a page of another site": {http.Header{"Origin": {"https://evil.example.org"}}, both, http.StatusForbidden},
		"no subprotocol":         {nil, nil, http.StatusBadRequest},
		"another subprotocol":    {nil, []string{"chat"}, http.StatusBadRequest},
	} {
		_, answer, err := browse(t, h, c.header, c.subprotocols)
		if err == nil || answer == nil || answer.StatusCode != c.status {
			t.Errorf("%s: %v", name, err)
		}
	}
	req, err := http.NewRequest(http.MethodGet, h.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-WebSocket-Protocol", signal.SubprotocolOrigin)
	answer, err := h.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("a plain request: %s", answer.Status)
	}
	for name, send := range map[string]func(context.Context, *websocket.Conn) error{
		"a message too large": func(ctx context.Context, c *websocket.Conn) error {
			return c.Write(ctx, websocket.MessageBinary, make([]byte, signal.MaxMessage+1))
		},
		"a text": func(ctx context.Context, c *websocket.Conn) error {
			return c.Write(ctx, websocket.MessageText, []byte("hello"))
		},
		"a malformed frame": func(ctx context.Context, c *websocket.Conn) error {
			return c.Write(ctx, websocket.MessageBinary, bytes.Repeat([]byte{0xff}, 64))
		},
	} {
		socket, _, _, _ := webAgent(t, h, signal.SubprotocolOrigin)
		ctx, cancel := context.WithTimeout(t.Context(), waittest.Timeout)
		if err := send(ctx, socket); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for err == nil { // the Bye, if there is one, and the end
			_, _, err = socket.Read(ctx)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: the connection stays open", name)
		}
		err = nil
		cancel()
	}
}

func TestDrainingHubSendsRetryAfter(t *testing.T) {
	t.Parallel() // waits for a timeout
	s := start(t)
	h := s.web(t, here)
	_, in, out, challenge := webAgent(t, h, signal.SubprotocolOrigin)
	greetWeb(t, in, out, signal.NewHello(key(t, 1), challenge, signal.BoundToOrigin(here)))
	ctx, cancel := context.WithTimeout(t.Context(), waittest.Timeout)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(ctx) }()
	if bye, err := in.FromRendezvous(); err != nil || bye.(signal.Bye).Code != signal.ByeDraining {
		t.Errorf("got %#v, %v", bye, err)
	}
	if _, err := in.FromRendezvous(); err == nil {
		t.Error("the connection stays open")
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	later := map[string]bool{}
	for range 40 {
		_, answer, err := browse(t, h, nil, both)
		if err == nil || answer.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("while it drains: %v", err)
		}
		later[answer.Header.Get("Retry-After")] = true
	}
	if want := map[string]bool{"2": true, "3": true, "4": true}; !maps.Equal(later, want) {
		t.Errorf("Retry-After %v, want %v", later, want)
	}
}
