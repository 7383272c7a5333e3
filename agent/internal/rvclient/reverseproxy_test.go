package rvclient_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/loopbacktest"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/rendezvous"
)

// examples is the directory of the example configurations for operators. The tests
// run them unchanged except for addresses and names of files.
const examples = "../../../deploy/proxy/"

// reverseProxy is a kind of reverse proxy with its example configuration.
type reverseProxy struct {
	example string // name of the file
	program string
	tls     bool // the proxy ends TLS
	// command returns the command that runs the proxy with the example in the file
	// at that path. dir is an empty directory, listen the address of the proxy.
	command func(t *testing.T, dir, example, listen string) *exec.Cmd
	// httpsUpstream lists pairs of a text of the example and its replacement, which
	// make the proxy use HTTPS towards the rendezvous. If it is empty, the proxy
	// uses HTTP.
	httpsUpstream []string
}

var reverseProxies = map[string]reverseProxy{
	"nginx ending TLS": {"nginx-http.conf", "nginx", true, nginxHTTP, nil},
	"nginx ending TLS with HTTPS upstream": {
		"nginx-http.conf", "nginx", true, nginxHTTP, []string{"pass http://easyfind", "pass https://easyfind"},
	},
	"nginx forwarding TLS":   {"nginx-stream.conf", "nginx", false, nginxStream, nil},
	"Caddy ending TLS":       {"Caddyfile", "caddy", true, caddy, nil},
	"HAProxy ending TLS":     {"haproxy-http.cfg", "haproxy", true, haproxy, nil},
	"HAProxy forwarding TLS": {"haproxy-tcp.cfg", "haproxy", false, haproxy, nil},
}

func nginxHTTP(t *testing.T, dir, example, _ string) *exec.Cmd {
	t.Helper()
	return nginx(t, dir, `http {
		access_log off;
		client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
		include `+example+`;
	}`)
}

func nginxStream(t *testing.T, dir, example, _ string) *exec.Cmd {
	t.Helper()
	const module = "/usr/lib/nginx/modules/ngx_stream_module.so"
	if _, err := os.Stat(module); err != nil {
		unable(t, "nginx's stream module is not installed: %v", err)
	}
	return nginx(t, dir, `stream { include `+example+`; }`, "load_module "+module+";")
}

func nginx(t *testing.T, dir, block string, before ...string) *exec.Cmd {
	t.Helper()
	config := filepath.Join(dir, "config")
	const settings = "\ndaemon off; master_process off; pid pid; error_log stderr warn; events {}\n"
	write(t, config, strings.Join(before, "\n")+settings+block+"\n")
	return exec.Command("nginx", "-p", dir, "-e", "stderr", "-c", config)
}

func caddy(t *testing.T, dir, example, listen string) *exec.Cmd {
	t.Helper()
	config := filepath.Join(dir, "config")
	host, _, _ := net.SplitHostPort(listen)
	write(t, config, "{\n\tadmin off\n\tauto_https disable_redirects\n\tdefault_bind "+host+"\n}\nimport "+example+"\n")
	return exec.Command("caddy", "run", "--adapter", "caddyfile", "--config", config)
}

func haproxy(_ *testing.T, _, example, _ string) *exec.Cmd {
	return exec.Command("haproxy", "-db", "-f", example)
}

// unable skips the test, or fails it if EASYFIND_E2E_MUST_RUN is 1.
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

// proxiedServer is a rendezvous behind a reverse proxy.
type proxiedServer struct {
	*server
	t      *testing.T
	data   string // directory
	direct string // the rendezvous's HTTPS address
	plain  string // the rendezvous's HTTP address, or ""
	public string // the proxy's address
	admin  string // token
}

// start starts a rendezvous and the proxy. The proxy connects to the rendezvous
// from 127.0.0.1. Tests connect from other addresses.
func (p reverseProxy) start(t *testing.T, change func(*rendezvous.Config)) *proxiedServer {
	t.Helper()
	if _, err := exec.LookPath(p.program); err != nil {
		unable(t, "%s is not installed: %v", p.program, err)
	}
	dir := t.TempDir()
	s := &proxiedServer{
		t: t, data: t.TempDir(),
		direct: loopbacktest.Address().String(), public: loopbacktest.Address().String(),
	}
	certificate := filepath.Join(dir, "rendezvous.pem")
	write(t, certificate, selfSigned(t, s.public))
	c := rendezvous.Config{Listen: s.direct, Data: s.data, PublicURL: "https://" + s.public}
	replacements := map[string]string{"127.0.0.1:8443": s.direct}
	if p.tls {
		s.plain = loopbacktest.Address().String()
		c.HTTPListen, c.TrustedProxies, c.PublicCert = s.plain, []string{"127.0.0.1"}, certificate
		replacements = map[string]string{"127.0.0.1:8080": s.plain, "/etc/ssl/private/rendezvous.pem": certificate}
	} else {
		c.ProxyProtocol = []string{"127.0.0.1"}
	}
	for i := 0; i+1 < len(p.httpsUpstream); i += 2 {
		replacements[p.httpsUpstream[i]] = p.httpsUpstream[i+1]
		replacements["127.0.0.1:8080"] = s.direct
	}
	if change != nil {
		change(&c)
	}
	s.server = serve(t, c)
	example := filepath.Join(dir, p.example)
	write(t, example, p.configuration(t, s.public, replacements))
	run(t, p.command(t, dir, example, s.public), dir, s.public)
	return s
}

// configuration returns the example with all replacements made and with listen as
// the address of the proxy.
func (p reverseProxy) configuration(t *testing.T, listen string, replacements map[string]string) string {
	t.Helper()
	raw, err := os.ReadFile(examples + p.example)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for old, replacement := range map[string]string{
		"listen 443": "listen " + listen, "bind :443": "bind " + listen,
		"https://rendezvous.example.org:443": "https://" + listen,
	} {
		if strings.Contains(text, old) {
			replacements[old] = replacement
		}
	}
	for old, replacement := range replacements {
		if !strings.Contains(text, old) {
			t.Fatalf("%s does not contain %q any more", p.example, old)
		}
		text = strings.ReplaceAll(text, old, replacement)
	}
	return text
}

// run runs a program until the test ends. It waits until the program accepts
// connections at the address at.
func run(t *testing.T, cmd *exec.Cmd, dir, at string) {
	t.Helper()
	var output bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &output, &output
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	cmd.WaitDelay = waittest.Timeout
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
		case <-time.After(waittest.Timeout):
			cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("output of %s:\n%s", cmd.Path, output.String())
		}
	})
	waittest.Until(t, cmd.Path+" accepts connections", func() bool {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v", cmd.Path, err)
		default:
		}
		conn, err := net.Dial("tcp", at)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// selfSigned returns a certificate for the IP address of host:port and its key, as
// one PEM file.
func selfSigned(t *testing.T, at string) string {
	t.Helper()
	host, _, _ := net.SplitHostPort(at)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(host)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
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
