package rvclient_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

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
