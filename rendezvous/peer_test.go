package rendezvous

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// peer is a client of a rendezvous that sends and receives single messages.
type peer struct {
	t      *testing.T
	key    ident.Key
	host   string
	invite string
	tls    *tls.Config
	token  string
	conn   *tls.Conn
	in     *signal.Reader
}

// newPeer registers a key with a join link.
func newPeer(t *testing.T, link string, seed byte) *peer {
	t.Helper()
	p, values := follow(t, link)
	p.key, p.invite = keyOf(t, seed), values.Get("invite")
	p.register()
	return p
}

func keyOf(t *testing.T, seed byte) ident.Key {
	t.Helper()
	key, err := ident.KeyFromSeed(bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newAdmin uses an admin link.
func newAdmin(t *testing.T, link string) *peer {
	t.Helper()
	p, values := follow(t, link)
	var token api.AdminToken
	p.do(http.MethodPost, api.PathAdminLink, api.AdminLinkUse{Code: values.Get("link")}, &token)
	p.token = token.Token
	return p
}

// follow returns the server of a link and the parameters of the link.
func follow(t *testing.T, link string) (*peer, url.Values) {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	values, err := url.ParseQuery(u.Fragment)
	if err != nil {
		t.Fatal(err)
	}
	pin, err := ident.ParsePin(values.Get("pin"))
	if err != nil {
		t.Fatal(err)
	}
	return &peer{t: t, host: u.Host, tls: ident.PinnedTLS(pin)}, values
}

// dial opens a TLS connection with an ALPN protocol, or none.
func (p *peer) dial(alpn string) *tls.Conn {
	p.t.Helper()
	config := p.tls.Clone()
	if alpn != "" {
		config.NextProtos = []string{alpn}
	}
	conn, err := tls.Dial("tcp", p.host, config)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(waittest.Timeout))
	return conn
}

func (p *peer) register() {
	p.t.Helper()
	p.registerOver("http/1.1")
}

// registerOver registers on a connection with an ALPN protocol, or none.
func (p *peer) registerOver(alpn string) {
	p.t.Helper()
	conn := p.dial(alpn)
	state := conn.ConnectionState()
	exporter, err := api.Exporter(&state)
	if err != nil {
		p.t.Fatal(err)
	}
	client := over(conn)
	defer client.CloseIdleConnections()
	var challenge api.Challenge
	p.request(client, http.MethodPost, api.PathChallenges, nil, &challenge)
	r := api.Registration{
		Challenge: challenge.Challenge, Name: "peer", Invite: p.invite,
		Expires: challenge.Expires.Truncate(time.Second),
	}
	r.Sign(p.key, exporter)
	var registered api.RegisterResult
	p.request(client, http.MethodPost, api.PathPeers, r, &registered)
	p.token = registered.Token
}

// call makes a request without a body.
func (p *peer) call(method, path string, out any) {
	p.t.Helper()
	p.do(method, path, nil, out)
}

// do makes a request on a connection of its own.
func (p *peer) do(method, path string, in, out any) {
	p.t.Helper()
	client := over(p.dial("http/1.1"))
	defer client.CloseIdleConnections()
	p.request(client, method, path, in, out)
}

// over returns an HTTP client that uses one connection.
func over(conn net.Conn) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}}
}

func (p *peer) request(client *http.Client, method, path string, in, out any) {
	p.t.Helper()
	status, answer := p.try(client, method, path, in)
	if status/100 != 2 {
		p.t.Fatalf("%s %s: %d: %s", method, path, status, answer)
	}
	if out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			p.t.Fatal(err)
		}
	}
}

// asks sends a request on a connection of its own and returns any answer.
func (p *peer) asks(method, path string, in any) (status int, answer []byte) {
	p.t.Helper()
	client := over(p.dial("http/1.1"))
	defer client.CloseIdleConnections()
	return p.try(client, method, path, in)
}

func (p *peer) try(client *http.Client, method, path string, in any) (status int, answer []byte) {
	p.t.Helper()
	var body bytes.Buffer
	if text, is := in.(string); is { // sent unchanged
		body.WriteString(text)
	} else if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			p.t.Fatal(err)
		}
	}
	req, err := http.NewRequest(method, "https://"+p.host+path, &body)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if p.token != "" {
		req.Header.Set("Authorization", "Bearer "+p.token)
	}
	res, err := client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res.StatusCode, answer
}

// connect opens the signalling connection.
func (p *peer) connect() *peer {
	p.t.Helper()
	if m, ok := p.hello().(signal.Welcome); !ok {
		p.t.Fatalf("not welcome: %#v", m)
	}
	p.in.Greeted()
	return p
}

// hello opens a signalling connection and returns the answer to its hello.
func (p *peer) hello() signal.FromRendezvous {
	p.t.Helper()
	return p.helloOf(nil)
}

// helloOf is hello with a proof for another connection, unless that is nil.
func (p *peer) helloOf(other *tls.ConnectionState) signal.FromRendezvous {
	p.t.Helper()
	p.conn = p.dial(signal.ALPN)
	state := p.conn.ConnectionState()
	if other != nil {
		state = *other
	}
	p.in = signal.NewReader(p.conn)
	challenge, ok := p.read().(signal.Challenge)
	if !ok {
		p.t.Fatal("no challenge")
	}
	bound, err := signal.BoundToTLS(state)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(signal.NewHello(p.key, challenge, bound))
	return p.read()
}

func (p *peer) read() signal.FromRendezvous {
	p.t.Helper()
	m, err := p.in.FromRendezvous()
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}

func (p *peer) write(m signal.FromPeer) {
	p.t.Helper()
	if _, err := p.conn.Write(signal.AppendFromPeer(nil, m)); err != nil {
		p.t.Fatal(err)
	}
}

// allow lets another peer find and signal this one.
func (p *peer) allow(other *peer) {
	p.t.Helper()
	p.call(http.MethodPut, api.AllowedPath(other.key.ID()), nil)
}

// online reports whether the server says that another peer is connected.
func (p *peer) online(other *peer) bool {
	p.t.Helper()
	var got api.Peer
	p.call(http.MethodGet, api.PeerPath(other.key.ID()), &got)
	return got.Online
}

// secrets returns texts that no log may contain.
func (p *peer) secrets() []string { return []string{p.token, strings.TrimSpace(p.invite)} }
