package rendezvous

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/certs/pebbletest"
)

const acmeHost = "rendezvous.test"

// byACME is a configuration whose certificate comes from an authority that
// connects to a port of it.
func byACME(t *testing.T, a *pebbletest.Authority, port int) Config {
	t.Helper()
	c := local(t)
	c.Listen = fmt.Sprintf("127.0.0.1:%d", port)
	c.PublicURL = fmt.Sprintf("https://%s:%d", acmeHost, port)
	c.RelayIP = "127.0.0.1"
	c.ACME = ACME{On: true, AgreeTerms: true, Directory: a.Directory, CA: a.CA, Email: "operator@example.org"}
	return c
}

// leafAt connects as a client that checks certificates, and returns the one it
// was shown.
func leafAt(port int, roots *x509.CertPool) (*x509.Certificate, error) {
	config := &tls.Config{RootCAs: roots, ServerName: acmeHost}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", fmt.Sprintf("127.0.0.1:%d", port), config)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

func TestACMEIssuesOnceAndKeeps(t *testing.T) {
	port := pebbletest.FreePort(t)
	a := pebbletest.Start(t, pebbletest.Options{TLSPort: port})
	c := byACME(t, a, port)
	first := start(t, c)
	if strings.Contains(first.link, "pin=") {
		t.Error("the join link has a pin")
	}
	leaf, err := leafAt(port, a.Roots(t))
	if err != nil {
		t.Fatalf("%v\n%s", err, first.log)
	}
	first.stop()
	second := start(t, c)
	again, err := leafAt(port, a.Roots(t))
	if err != nil || !again.Equal(leaf) {
		t.Errorf("after a restart: %v, another certificate: %v", err, !again.Equal(leaf))
	}
	if second.link != first.link {
		t.Error("the join link has changed")
	}
	if a.Orders() != 1 || a.Accounts() != 1 {
		t.Errorf("%d orders by %d accounts, want one by one", a.Orders(), a.Accounts())
	}
	if strings.Contains(first.log.String()+second.log.String(), "PRIVATE KEY") {
		t.Error("the log holds a key")
	}
}

// TestACMEKeepsThePin: agents that joined by the pin of the self-signed certificate
// come back after the change to ACME, while there is no certificate yet and later.
func TestACMEKeepsThePin(t *testing.T) {
	port := pebbletest.FreePort(t)
	c := local(t)
	c.Listen, c.PublicURL, c.RelayIP = fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("https://127.0.0.1:%d", port), "127.0.0.1"
	before := start(t, c)
	p := newPeer(t, before.link, 1).connect()
	before.stop()
	a := pebbletest.Start(t, pebbletest.Options{TLSPort: port})
	with := byACME(t, a, port)
	with.Data = c.Data
	start(t, with)
	if _, err := leafAt(port, a.Roots(t)); err != nil {
		t.Fatal(err)
	}
	p.connect()
}

func TestACMERenewsInTime(t *testing.T) {
	port := pebbletest.FreePort(t)
	a := pebbletest.Start(t, pebbletest.Options{TLSPort: port, Validity: 20 * time.Second})
	i := start(t, byACME(t, a, port))
	roots := a.Roots(t)
	first, err := leafAt(port, roots)
	if err != nil {
		t.Fatal(err)
	}
	handshakes := 0
	waittest.Until(t, "another certificate", func() bool {
		leaf, err := leafAt(port, roots)
		if err != nil {
			t.Fatalf("a handshake failed: %v\n%s", err, i.log)
		}
		handshakes++
		return !leaf.Equal(first)
	})
	t.Logf("renewed after %v of 20 s, %d handshakes", time.Since(first.NotBefore), handshakes)
	if a.Accounts() != 1 {
		t.Errorf("%d accounts", a.Accounts())
	}
}

// accountKey is the HMAC key of an account, "me", that an authority may ask for.
const accountKey = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"

func TestACMEWithAnExternalAccount(t *testing.T) {
	port := pebbletest.FreePort(t)
	a := pebbletest.Start(t, pebbletest.Options{TLSPort: port, Accounts: map[string]string{"me": accountKey}})
	c := byACME(t, a, port)
	c.ACME.Account = filepath.Join(t.TempDir(), "account")
	if err := os.WriteFile(c.ACME.Account, []byte("me "+accountKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	i := start(t, c)
	if _, err := leafAt(port, a.Roots(t)); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(i.log.String(), accountKey[:6]) {
		t.Error("the log holds the account's key")
	}
}

func TestACMEByHTTP(t *testing.T) {
	port, plain := pebbletest.FreePort(t), pebbletest.FreePort(t)
	a := pebbletest.Start(t, pebbletest.Options{HTTPPort: plain}) // nothing answers at its TLS port
	c := byACME(t, a, port)
	c.ACME.Listen = fmt.Sprintf("127.0.0.1:%d", plain)
	start(t, c)
	if _, err := leafAt(port, a.Roots(t)); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	for _, path := range []string{"/", "/admin?x=1", "/.well-known/acme-challenge/unknown"} {
		res, err := client.Get("http://" + c.ACME.Listen + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if to := res.Header.Get("Location"); res.StatusCode != http.StatusPermanentRedirect || to != c.PublicURL+path {
			t.Errorf("%s: %s to %q", path, res.Status, to)
		}
	}
	res, err := client.Post("http://"+c.ACME.Listen+"/", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("POST: %s", res.Status)
	}
}

// forwarder passes what comes to a port on to one instance after the other, as a
// load balancer does.
func forwarder(t *testing.T, to ...string) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go passOn(conn, to[n%len(to)])
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// passOn passes a connection on to an instance, once that answers.
func passOn(conn net.Conn, to string) {
	defer conn.Close()
	var other net.Conn
	for over := time.Now().Add(patience); other == nil; <-time.After(20 * time.Millisecond) {
		var err error
		if other, err = net.Dial("tcp", to); err != nil && time.Now().After(over) {
			return
		}
	}
	defer other.Close()
	go func() {
		io.Copy(other, conn)
		other.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(conn, other)
}

func TestInstancesShareOneCertificate(t *testing.T) {
	url := postgres(t)
	var addresses []string
	for range 2 {
		addresses = append(addresses, fmt.Sprintf("127.0.0.1:%d", pebbletest.FreePort(t)))
	}
	port := forwarder(t, addresses...)
	a := pebbletest.Start(t, pebbletest.Options{TLSPort: port})
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(strings.Repeat("0123456789abcdef", 2)), 0o600); err != nil {
		t.Fatal(err)
	}
	var configs []Config
	for _, at := range addresses {
		c := byACME(t, a, port)
		c.Listen, c.DatabaseURL, c.ClusterListen, c.DatabaseKey = at, url, "127.0.0.1:0", key
		configs = append(configs, c)
	}
	var both []*instance
	for _, c := range configs { // at once: the first one has no certificate when the second one looks
		both = append(both, begin(t, c))
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s\n%s\n%s", both[0].log, both[1].log, a.Log())
		}
	})
	for _, i := range both {
		i.await()
	}
	roots := a.Roots(t)
	leaves := map[string]bool{}
	for range 6 {
		leaf, err := leafAt(port, roots)
		if err != nil {
			t.Fatal(err)
		}
		leaves[leaf.SerialNumber.String()] = true
	}
	if len(leaves) != 1 || a.Orders() != 1 || a.Accounts() != 1 {
		t.Errorf("%d certificates by %d orders of %d accounts, want one of each", len(leaves), a.Orders(), a.Accounts())
	}
	// A connection to one is resumed at the other.
	client := &tls.Config{RootCAs: roots, ServerName: acmeHost, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for n, c := range configs {
		if resumed := get(t, c.Listen, client); resumed != (n > 0) {
			t.Errorf("connection %d: resumed %v", n, resumed)
		}
	}
	c := configs[0]
	c.Listen, c.Data, c.DatabaseKey = "127.0.0.1:0", t.TempDir(), ""
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "--database-key") {
		t.Errorf("an instance without the key: %v", err)
	}
}

// get asks for the health of an instance, whose answer comes after the tickets.
func get(t *testing.T, address string, config *tls.Config) (resumed bool) {
	t.Helper()
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		t.Fatal(err)
	}
	client := over(conn)
	defer client.CloseIdleConnections()
	res, err := client.Get("https://" + acmeHost + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("health: %s", res.Status)
	}
	return conn.ConnectionState().DidResume
}

// TestWithoutACertificateNobodyIsDeceived: while there is none, who checks
// certificates is refused, health checks go on, the log says why, and there is no
// join link.
func TestWithoutACertificateNobodyIsDeceived(t *testing.T) {
	port := pebbletest.FreePort(t)
	a := pebbletest.Start(t, pebbletest.Options{Refused: []string{"refused.test"}, Accounts: map[string]string{"me": accountKey}})
	dead := fmt.Sprintf("https://127.0.0.1:%d/dir", pebbletest.FreePort(t))
	file := func(content string) string {
		name := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	account := file("me " + accountKey + "\n")
	for name, test := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"nobody connects":      {func(c *Config) {}, "connects to rendezvous.test and does not find this server: TCP port 443"},
		"no such name":         {func(c *Config) { c.PublicURL = "https://nowhere.test" }, "nowhere.test"},
		"a refused name":       {func(c *Config) { c.PublicURL = "https://refused.test" }, "gives no certificate for refused.test"},
		"no account":           {func(c *Config) { c.ACME.Account = "" }, "set --acme-account"},
		"a wrong account":      {func(c *Config) { c.ACME.Account = file("me AAAA") }, "does not take the account of --acme-account"},
		"no authority":         {func(c *Config) { c.ACME.Directory = dead }, "check --acme-directory, and that this machine may call out"},
		"an unknown authority": {func(c *Config) { c.ACME.CA = "" }, "set --acme-ca"},
		"another server":       {func(c *Config) { c.ACME.Directory = strings.TrimSuffix(a.Directory, "dir") + "nothing" }, "--acme-directory"},
		"a wrong address":      {func(c *Config) { c.ACME.Email = "operatör@example.org" }, "--acme-email"},
	} {
		t.Run(name, func(t *testing.T) {
			c := byACME(t, a, port)
			c.Listen, c.ACME.Account = "127.0.0.1:0", account
			test.change(&c)
			i := begin(t, c)
			i.log.Await(t, test.want)
			if strings.Contains(i.log.String(), accountKey[:6]) {
				t.Error("the log holds the account's key")
			}
			// Who checks certificates is refused; a health check is not.
			port := portOf(t, i)
			if _, err := leafAt(port, nil); err == nil {
				t.Error("a client that checks certificates came in")
			}
			get(t, fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{InsecureSkipVerify: true})
			select {
			case link := <-i.ready:
				t.Errorf("told the link %s", link)
			default:
			}
		})
	}
}

// portOf reads the HTTPS port out of the log.
func portOf(t *testing.T, i *instance) (port int) {
	t.Helper()
	_, rest, ok := strings.Cut(i.log.String(), "https=127.0.0.1:")
	if n, err := fmt.Sscan(rest, &port); !ok || n != 1 {
		t.Fatalf("no port in the log: %v", err)
	}
	return port
}

func TestACMESettingsAreExplained(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"do nothing without --acme":         func(c *Config) { c.ACME.On = false },
		"exclude each other":                func(c *Config) { c.TLSCert, c.TLSKey = "x", "y" },
		"set --public-url too":              func(c *Config) { c.PublicURL = "" },
		"set --acme-agree-terms":            func(c *Config) { c.ACME.AgreeTerms = false },
		"--acme-directory":                  func(c *Config) { c.ACME.Directory = "acme.example.org" },
		"--acme-email":                      func(c *Config) { c.ACME.Email = "operator" },
		"--acme-account":                    func(c *Config) { c.ACME.Account = file },
		"--database-key":                    func(c *Config) { c.DatabaseKey = file },
		"gives no certificate for 10.0.0.1": func(c *Config) { c.PublicURL = "https://10.0.0.1" },
		"gives no certificate for nas.lan":  func(c *Config) { c.PublicURL = "https://nas.lan" },
		"gives no certificate for nas,":     func(c *Config) { c.PublicURL = "https://nas" },
	} {
		c := local(t)
		c.PublicURL = "https://rendezvous.example.org"
		c.ACME = ACME{On: true, AgreeTerms: true, Directory: "https://acme-v02.api.letsencrypt.org/directory", Email: "operator@example.org"}
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, url := range []string{"https://rendezvous.example.org", "https://203.0.113.5", "https://[2a00::1]:8443"} {
		c := local(t)
		c.PublicURL = url
		c.ACME = ACME{On: true, AgreeTerms: true, Directory: "https://acme-v02.api.letsencrypt.org/directory"}
		if _, err := New(c); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	c := local(t)
	c.PublicURL, c.ACME = "https://"+acmeHost, ACME{On: true, AgreeTerms: true, Directory: "https://127.0.0.1:1", CA: file}
	c.RelayIP = "127.0.0.1"
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "--acme-ca") {
		t.Errorf("a file without a certificate: %v", err)
	}
}
