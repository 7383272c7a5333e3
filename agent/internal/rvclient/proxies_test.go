package rvclient_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/rvclient"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous"
)

// examples are the configurations that the guide offers. They are run as they
// stand there, but for the addresses and files in them.
const examples = "../../../deploy/proxy/"

// reverseProxy is a program that stands before a rendezvous.
type reverseProxy struct {
	example string
	needs   string // the program
	tls     bool   // it ends TLS
	// start is the command that runs it with the example at a path; the
	// directory is its own.
	start func(t *testing.T, dir, example string) *exec.Cmd
	// again are the words by which it speaks TLS to the rendezvous too, in pairs;
	// none if it speaks HTTP.
	again []string
}

var reverseProxies = map[string]reverseProxy{
	"nginx ending TLS":                  {"nginx-http.conf", "nginx", true, nginxHTTP, nil},
	"nginx ending TLS and beginning it": {"nginx-http.conf", "nginx", true, nginxHTTP, []string{"pass http://easyfind", "pass https://easyfind"}},
	"nginx passing TLS on": {"nginx-stream.conf", "nginx", false, func(t *testing.T, dir, example string) *exec.Cmd {
		const module = "/usr/lib/nginx/modules/ngx_stream_module.so"
		if _, err := os.Stat(module); err != nil {
			unable(t, "nginx's stream module is not installed: %v", err)
		}
		return nginx(t, dir, `stream { include `+example+`; }`, "load_module "+module+";")
	}, nil},
	"Caddy ending TLS": {"Caddyfile", "caddy", true, func(t *testing.T, dir, example string) *exec.Cmd {
		whole := filepath.Join(dir, "whole")
		write(t, whole, "{\n\tadmin off\n\tauto_https disable_redirects\n\tdefault_bind 127.0.0.1\n}\nimport "+example+"\n")
		return exec.Command("caddy", "run", "--adapter", "caddyfile", "--config", whole)
	}, nil},
	"HAProxy ending TLS": {"haproxy-http.cfg", "haproxy", true, func(_ *testing.T, _, example string) *exec.Cmd {
		return exec.Command("haproxy", "-db", "-f", example)
	}, nil},
	"HAProxy passing TLS on": {"haproxy-tcp.cfg", "haproxy", false, func(_ *testing.T, _, example string) *exec.Cmd {
		return exec.Command("haproxy", "-db", "-f", example)
	}, nil},
}

func nginxHTTP(t *testing.T, dir, example string) *exec.Cmd {
	t.Helper()
	return nginx(t, dir, `http { access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s; include `+example+`; }`)
}

func nginx(t *testing.T, dir, block string, before ...string) *exec.Cmd {
	t.Helper()
	whole := filepath.Join(dir, "whole")
	write(t, whole, strings.Join(before, "\n")+"\ndaemon off; master_process off; pid pid; error_log stderr warn; events {}\n"+block+"\n")
	return exec.Command("nginx", "-p", dir, "-e", "stderr", "-c", whole)
}

// unable skips a test for want of something, or fails it where nothing may be
// wanting.
func unable(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("EASYFIND_E2E_MUST_RUN") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// standing is a rendezvous with a reverse proxy before it.
type standing struct {
	*server
	t      *testing.T
	data   string
	direct string // the rendezvous's own HTTPS port
	plain  string // its HTTP port, "" without
	public string // the proxy's port
	admin  string // token
}

// stand starts both; the proxy connects from 127.0.0.1, and so nobody else does.
func (p reverseProxy) stand(t *testing.T, change func(*rendezvous.Config)) *standing {
	t.Helper()
	if _, err := exec.LookPath(p.needs); err != nil {
		unable(t, "%s is not installed: %v", p.needs, err)
	}
	dir := t.TempDir()
	s := &standing{t: t, data: t.TempDir(), direct: quietPort(t), public: quietPort(t)}
	certificate := filepath.Join(dir, "rendezvous.pem")
	write(t, certificate, selfSigned(t))
	c := rendezvous.Config{Listen: s.direct, Data: s.data, PublicURL: "https://" + s.public}
	words := map[string]string{"127.0.0.1:8443": s.direct}
	if p.tls {
		s.plain = quietPort(t)
		c.HTTPListen, c.TrustedProxies, c.PublicCert = s.plain, []string{"127.0.0.1"}, certificate
		words = map[string]string{"127.0.0.1:8080": s.plain, "/etc/ssl/private/rendezvous.pem": certificate}
	} else {
		c.ProxyProtocol = []string{"127.0.0.1"}
	}
	for i := 0; i+1 < len(p.again); i += 2 {
		words[p.again[i]] = p.again[i+1]
		words["127.0.0.1:8080"] = s.direct
	}
	if change != nil {
		change(&c)
	}
	s.server = serve(t, c)
	raw, err := os.ReadFile(examples + p.example)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	_, port, _ := net.SplitHostPort(s.public)
	for _, listen := range []string{"listen 443", "bind :443", "https://rendezvous.example.org:443"} {
		if strings.Contains(text, listen) {
			words[listen] = map[string]string{
				"listen 443": "listen 127.0.0.1:" + port, "bind :443": "bind 127.0.0.1:" + port,
				"https://rendezvous.example.org:443": "https://" + s.public,
			}[listen]
		}
	}
	for word, value := range words {
		if !strings.Contains(text, word) {
			t.Fatalf("%s does not say %q any more", p.example, word)
		}
		text = strings.ReplaceAll(text, word, value)
	}
	example := filepath.Join(dir, p.example)
	write(t, example, text)
	run(t, p.start(t, dir, example), dir, s.public)
	return s
}

// quietPort is a free address on loopback whose port the kernel gives to nobody
// who connects: it is taken up to a second later.
func quietPort(t *testing.T) string {
	t.Helper()
	for range 100 {
		n, err := rand.Int(rand.Reader, big.NewInt(16_000))
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 16_000+n.Int64()))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

// run runs a program until the test ends, and waits until it answers.
func run(t *testing.T, cmd *exec.Cmd, dir, at string) {
	t.Helper()
	var output bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &output, &output
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	cmd.WaitDelay = patience
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(patience):
			cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", cmd.Path, output.String())
		}
	})
	late := time.After(patience)
	for {
		conn, err := net.Dial("tcp", at)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v", cmd.Path, err)
		case <-late:
			t.Fatalf("%s does not answer: %v", cmd.Path, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// selfSigned is a certificate for loopback and its key, in one file.
func selfSigned(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// visitor makes requests over one connection from one address of this machine.
type visitor struct {
	t    *testing.T
	base string
	http *http.Client
}

// visit is somebody who connects to host:port, by TLS or without, from a source.
func visit(t *testing.T, scheme, at, source string) *visitor {
	transport := &http.Transport{
		DialContext: from(source).DialContext, MaxConnsPerHost: 1,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &visitor{t, scheme + "://" + at, &http.Client{Transport: transport, Timeout: patience}}
}

// do makes a request; headers are in pairs.
func (v *visitor) do(method, path string, in, out any, headers ...string) (*http.Response, error) {
	v.t.Helper()
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			v.t.Fatal(err)
		}
	}
	req, err := http.NewRequest(method, v.base+path, &body)
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := v.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 == 2 && out != nil {
		err = json.Unmarshal(raw, out)
	} else if res.StatusCode/100 != 2 {
		p := &api.Problem{}
		if json.Unmarshal(raw, p) == nil {
			return res, p
		}
		return res, fmt.Errorf("%s: %s", res.Status, raw)
	}
	return res, err
}

// register registers a key with whatever binding the challenge asks for, or for
// an origin if one is given, and returns what was asked for.
func (v *visitor) register(seed byte, invite string, origin ident.Origin, headers ...string) (api.Bind, error) {
	v.t.Helper()
	key, err := ident.KeyFromSeed(bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		v.t.Fatal(err)
	}
	var c api.Challenge
	res, err := v.do(http.MethodPost, api.PathChallenges, nil, &c, headers...)
	if err != nil {
		return "", err
	}
	r := api.Registration{Challenge: c.Challenge, Name: fmt.Sprintf("visitor %d", seed), Invite: invite, Expires: c.Expires.Truncate(time.Second)}
	switch {
	case origin != "":
		r.SignForOrigin(key, origin)
	case c.Bind == api.BindOrigin:
		r.SignForOrigin(key, ident.OriginOf(strings.TrimPrefix(v.base, "https://")))
	default:
		exporter, err := api.Exporter(res.TLS)
		if err != nil {
			v.t.Fatal(err)
		}
		r.Sign(key, exporter)
	}
	_, err = v.do(http.MethodPost, api.PathPeers, r, nil, headers...)
	return c.Bind, err
}

// sources are where the rendezvous saw registrations come from, by their names.
func (s *standing) sources() map[string]string {
	s.t.Helper()
	v := visit(s.t, "https", s.direct, "127.0.0.90")
	if s.admin == "" {
		link, err := url.Parse(rendezvous.KeptAdminLink(s.data))
		if err != nil {
			s.t.Fatal(err)
		}
		values, err := url.ParseQuery(link.Fragment)
		if err != nil {
			s.t.Fatal(err)
		}
		var token api.AdminToken
		if _, err := v.do(http.MethodPost, api.PathAdminLink, api.AdminLinkUse{Code: values.Get("link")}, &token); err != nil {
			s.t.Fatal(err)
		}
		s.admin = token.Token
	}
	var list api.Events
	if _, err := v.do(http.MethodGet, api.PathAudit+"?kind=registered", nil, &list, "Authorization", "Bearer "+s.admin); err != nil {
		s.t.Fatal(err)
	}
	seen := map[string]string{}
	for _, e := range list.Events {
		name, _, _ := strings.Cut(e.Detail, " with invite")
		seen[name] = e.Source
	}
	return seen
}

func (s *standing) invite() string {
	_, fragment, _ := strings.Cut(s.link, "#")
	values, err := url.ParseQuery(fragment)
	if err != nil {
		s.t.Fatal(err)
	}
	return values.Get("invite")
}

func TestAgentsMeetThroughReverseProxies(t *testing.T) {
	for name, p := range reverseProxies {
		t.Run(name, func(t *testing.T) {
			s := p.stand(t, nil)
			a, b := joinFrom(t, s.link, 1, "127.0.0.11"), joinFrom(t, s.link, 2, "127.0.0.12")
			want := rvclient.ViaTLS
			if p.tls {
				want = rvclient.ViaProxy
			}
			for _, x := range []*agent{a, b} {
				if got := x.await(t, "connected", func(s rvclient.State) bool { return s.Connected }); got.Via != want {
					t.Errorf("connected via %q, want %q: %s", got.Via, want, got)
				}
			}
			allow(t, a, b)
			for _, body := range []string{"one", strings.Repeat("x", 32<<10)} {
				if err := a.Send(t.Context(), b.id, []byte(body)); err != nil {
					t.Fatalf("send: %v", err)
				}
				b.expect(t, a.id.Short()+" "+body)
			}
			if err := b.Send(t.Context(), a.id, []byte("answer")); err != nil {
				t.Fatal(err)
			}
			a.expect(t, b.id.Short()+" answer")
			servers, err := a.RelayServers(t.Context())
			if err != nil || servers.Username == "" {
				t.Errorf("relay: %v", err)
			}
			for _, turn := range servers.TURN {
				if p.tls && strings.HasPrefix(turn, "turns:") {
					t.Errorf("%s is announced, which a proxy that ends TLS does not pass on", turn)
				}
			}

			// Who connects is seen, whatever they say.
			if _, err := visit(t, "https", s.public, "127.0.0.13").register(3, s.invite(), "", "X-Forwarded-For", "203.0.113.5"); err != nil {
				t.Errorf("register with a header of its own: %v", err)
			}
			seen := s.sources()
			for name, source := range map[string]string{"agent 1": "127.0.0.11", "agent 2": "127.0.0.12", "visitor 3": "127.0.0.13"} {
				if got, _, _ := strings.Cut(seen[name], "/"); got != source {
					t.Errorf("%s was seen at %q, want %s: %v", name, seen[name], source, seen)
				}
			}
		})
	}
}

func TestOnlyTheProxyIsBelieved(t *testing.T) {
	s := reverseProxies["nginx ending TLS"].stand(t, nil)
	origin := ident.OriginOf(s.public)
	stranger := visit(t, "https", s.direct, "127.0.0.14")
	if _, err := stranger.register(4, s.invite(), origin); !errors.Is(err, api.NewProblem(api.CodeBinding)) {
		t.Errorf("bound to the origin, directly: %v", err)
	}
	bind, err := stranger.register(4, s.invite(), "", "X-Forwarded-For", "203.0.113.5", "X-Forwarded-For", "127.0.0.1")
	if err != nil || bind != api.BindTLS {
		t.Errorf("bound to %q, directly: %v", bind, err)
	}
	if seen := s.sources()["visitor 4"]; !strings.HasPrefix(seen, "127.0.0.14") {
		t.Errorf("a stranger's X-Forwarded-For was believed: %s", seen)
	}
	if _, err := visit(t, "http", s.plain, "127.0.0.14").do(http.MethodGet, api.PathLive, nil, nil); err == nil {
		t.Error("a stranger was served without TLS")
	}
	elsewhere := visit(t, "https", s.public, "127.0.0.15")
	if _, err := elsewhere.register(5, s.invite(), "https://rendezvous.example.net:443"); !errors.Is(err, api.NewProblem(api.CodeOrigin)) {
		t.Errorf("for another rendezvous: %v", err)
	}
}

func TestConnectionsThroughAProxyCountForTheirSource(t *testing.T) {
	s := reverseProxies["HAProxy ending TLS"].stand(t, func(c *rendezvous.Config) { c.PerSource = 1 })
	joinFrom(t, s.link, 1, "127.0.0.11").connected(t)
	second := joinFrom(t, s.link, 2, "127.0.0.11")
	state := second.await(t, "refused", func(s rvclient.State) bool { return strings.Contains(s.Reason, "429") })
	if state.Connected {
		t.Error("a second connection of one source was let in")
	}
	joinFrom(t, s.link, 3, "127.0.0.12").connected(t)
}

func TestAProxyHeaderFromElsewhereIsRefused(t *testing.T) {
	s := reverseProxies["HAProxy passing TLS on"].stand(t, nil)
	conn, err := from("127.0.0.16").DialContext(t.Context(), "tcp", s.direct)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, "PROXY TCP4 203.0.113.5 127.0.0.1 1 443\r\n")
	if err := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(t.Context()); err == nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a stranger's header was not refused: %v", err)
	}
}
