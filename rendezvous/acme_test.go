package rendezvous

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/certs/pebbletest"
)

const acmeHost = "rendezvous.test"

// acmeConfig returns the configuration of an instance that gets its certificate
// from an authority and has a public port.
func acmeConfig(t *testing.T, a *pebbletest.Authority, port int) Config {
	t.Helper()
	c := local(t)
	c.PublicURL = fmt.Sprintf("https://%s:%d", acmeHost, port)
	c.RelayIP = "127.0.0.1"
	c.ACME = ACME{On: true, AgreeTerms: true, Directory: a.Directory, CA: a.CA, Email: "operator@example.org"}
	return c
}

// leafAt connects as a client that verifies certificates, and returns the server's
// certificate.
func leafAt(port int, roots *x509.CertPool) (*x509.Certificate, error) {
	config := &tls.Config{RootCAs: roots, ServerName: acmeHost}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: waittest.Timeout}, "tcp", fmt.Sprintf("127.0.0.1:%d", port),
		config)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

func TestCertificateSurvivesRestart(t *testing.T) {
	public := newForwarder(t)
	a := pebbletest.Start(t, pebbletest.Options{TLSPort: public.port()})
	c := acmeConfig(t, a, public.port())
	first := startBehind(t, public, c)
	if strings.Contains(first.link, "pin=") {
		t.Error("the join link has a pin")
	}
	leaf, err := leafAt(public.port(), a.Roots(t))
	if err != nil {
		t.Fatalf("%v\n%s", err, first.log)
	}
	first.stop()
	second := startBehind(t, public, c)
	again, err := leafAt(public.port(), a.Roots(t))
	if err != nil || !again.Equal(leaf) {
		t.Errorf("after a restart: %v, another certificate: %v", err, !again.Equal(leaf))
	}
	if second.link != first.link {
		t.Error("the join link has changed")
	}
	if a.Orders() != 1 || a.Accounts() != 1 {
		t.Errorf("%d orders of %d accounts, want one of one", a.Orders(), a.Accounts())
	}
	if strings.Contains(first.log.String()+second.log.String(), "PRIVATE KEY") {
		t.Error("the log contains a key")
	}
}

// TestPinSurvivesChangeToACME: agents that joined with the pin of the self-signed
// certificate connect again after the change to ACME, before and after there is a
// certificate.
func TestPinSurvivesChangeToACME(t *testing.T) {
	public := newForwarder(t)
	c := local(t)
	c.PublicURL, c.RelayIP = "https://"+public.address(), "127.0.0.1"
	before := startBehind(t, public, c)
	p := newPeer(t, before.link, 1).connect()
	before.stop()
	a := pebbletest.Start(t, pebbletest.Options{TLSPort: public.port()})
	with := acmeConfig(t, a, public.port())
	with.Data = c.Data
	startBehind(t, public, with)
	if _, err := leafAt(public.port(), a.Roots(t)); err != nil {
		t.Fatal(err)
	}
	p.connect()
}

func TestCertificateIsRenewedInTime(t *testing.T) {
	public := newForwarder(t)
	a := pebbletest.Start(t, pebbletest.Options{TLSPort: public.port(), Validity: 20 * time.Second})
	i := startBehind(t, public, acmeConfig(t, a, public.port()))
	roots := a.Roots(t)
	first, err := leafAt(public.port(), roots)
	if err != nil {
		t.Fatal(err)
	}
	handshakes := 0
	waittest.Until(t, "there is another certificate", func() bool {
		leaf, err := leafAt(public.port(), roots)
		if err != nil {
			t.Fatalf("a handshake failed: %v\n%s", err, i.log)
		}
		handshakes++
		return !leaf.Equal(first)
	})
	t.Logf("renewed %v after the start of 20 s, %d handshakes", time.Since(first.NotBefore), handshakes)
	if a.Accounts() != 1 {
		t.Errorf("%d accounts", a.Accounts())
	}
}

// accountKey is the HMAC key of the external account "me".
const accountKey = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"

func TestCertificateForExternalAccount(t *testing.T) {
	public := newForwarder(t)
	a := pebbletest.Start(t, pebbletest.Options{
		TLSPort: public.port(), Accounts: map[string]string{"me": accountKey},
	})
	c := acmeConfig(t, a, public.port())
	c.ACME.Account = filepath.Join(t.TempDir(), "account")
	if err := os.WriteFile(c.ACME.Account, []byte("me "+accountKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	i := startBehind(t, public, c)
	if _, err := leafAt(public.port(), a.Roots(t)); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(i.log.String(), accountKey[:6]) {
		t.Error("the log contains the account's key")
	}
}

func TestCertificateByHTTPChallenge(t *testing.T) {
	public, plain := newForwarder(t), newForwarder(t)
	a := pebbletest.Start(t, pebbletest.Options{HTTPPort: plain.port()}) // nothing answers at its TLS port
	c := acmeConfig(t, a, public.port())
	c.ACME.Listen = "127.0.0.1:0"
	i := begin(t, c)
	public.to(i.address("the rendezvous is serving"))
	plain.to(i.address("redirecting HTTP to HTTPS"))
	i.await()
	if _, err := leafAt(public.port(), a.Roots(t)); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	for _, path := range []string{"/", "/admin?x=1", "/.well-known/acme-challenge/unknown"} {
		res, err := client.Get("http://" + plain.address() + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if to := res.Header.Get("Location"); res.StatusCode != http.StatusPermanentRedirect || to != c.PublicURL+path {
			t.Errorf("%s: %s to %q", path, res.Status, to)
		}
	}
	res, err := client.Post("http://"+plain.address()+"/", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("POST: %s", res.Status)
	}
}

func TestInstancesShareOneCertificate(t *testing.T) {
	url := postgres(t)
	public := newForwarder(t)
	a := pebbletest.Start(t, pebbletest.Options{TLSPort: public.port()})
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(strings.Repeat("0123456789abcdef", 2)), 0o600); err != nil {
		t.Fatal(err)
	}
	c := acmeConfig(t, a, public.port())
	c.DatabaseURL, c.ClusterListen, c.DatabaseKey = url, "127.0.0.1:0", key
	var both []*instance
	var addresses []string
	for range 2 { // both start before either has a certificate
		c.Data = t.TempDir()
		both = append(both, begin(t, c))
	}
	for _, i := range both {
		addresses = append(addresses, i.address("the rendezvous is serving"))
	}
	public.to(addresses...)
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
		leaf, err := leafAt(public.port(), roots)
		if err != nil {
			t.Fatal(err)
		}
		leaves[leaf.SerialNumber.String()] = true
	}
	if len(leaves) != 1 || a.Orders() != 1 || a.Accounts() != 1 {
		t.Errorf("%d certificates by %d orders of %d accounts, want one of each", len(leaves), a.Orders(), a.Accounts())
	}
	// The second instance resumes a TLS session of the first.
	client := &tls.Config{RootCAs: roots, ServerName: acmeHost, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for n, i := range both {
		if resumed := checkHealth(t, i, client); resumed != (n > 0) {
			t.Errorf("connection %d: resumed %v", n, resumed)
		}
	}
	c.Data, c.DatabaseKey = t.TempDir(), ""
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "--database-key") {
		t.Errorf("an instance without the key: %v", err)
	}
}

// checkHealth requests the health of an instance that has its lease, and reports
// whether the TLS session was resumed.
func checkHealth(t *testing.T, i *instance, config *tls.Config) (resumed bool) {
	t.Helper()
	i.log.Await(t, "this instance has its lease") // it is not ready before
	conn, err := tls.Dial("tcp", i.address("the rendezvous is serving"), config)
	if err != nil {
		t.Fatal(err)
	}
	client := over(conn)
	defer client.CloseIdleConnections()
	res, err := client.Get("https://" + acmeHost + "/readyz") // the answer comes after the session tickets
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("health: %s", res.Status)
	}
	return conn.ConnectionState().DidResume
}

// TestServerWithoutCertificateRefusesClients: while there is no certificate, a
// client that verifies certificates cannot connect, but health checks succeed. The
// log says why there is no certificate, and no join link is printed.
func TestServerWithoutCertificateRefusesClients(t *testing.T) {
	a := pebbletest.Start(t, pebbletest.Options{
		Refused: []string{"refused.test"}, Accounts: map[string]string{"me": accountKey},
	})
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
		"nobody connects": {
			func(c *Config) {}, "connects to rendezvous.test and does not find this server: TCP port 443",
		},
		"no such name": {
			func(c *Config) { c.PublicURL = "https://nowhere.test" }, "cannot obtain a certificate",
		},
		"a refused name": {
			func(c *Config) { c.PublicURL = "https://refused.test" }, "gives no certificate for refused.test",
		},
		"no account": {func(c *Config) { c.ACME.Account = "" }, "set --acme-account"},
		"a wrong account": {
			func(c *Config) { c.ACME.Account = file("me AAAA") },
			"does not accept the account of --acme-account",
		},
		"no authority": {
			func(c *Config) { c.ACME.Directory = "https://127.0.0.1:1/dir" },
			"check --acme-directory, and that this machine can make outgoing connections",
		},
		"an unknown authority": {func(c *Config) { c.ACME.CA = "" }, "set --acme-ca"},
		"another server": {
			func(c *Config) { c.ACME.Directory = strings.TrimSuffix(a.Directory, "dir") + "nothing" },
			"--acme-directory",
		},
		"a wrong address": {func(c *Config) { c.ACME.Email = "operatör@example.org" }, "--acme-email"},
	} {
		t.Run(name, func(t *testing.T) {
			c := acmeConfig(t, a, 443)
			c.ACME.Account = account
			test.change(&c)
			i := begin(t, c)
			i.log.Await(t, test.want)
			if strings.Contains(i.log.String(), accountKey[:6]) {
				t.Error("the log contains the account's key")
			}
			address, err := netip.ParseAddrPort(i.address("the rendezvous is serving"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := leafAt(int(address.Port()), nil); err == nil {
				t.Error("a client that verifies certificates has connected")
			}
			checkHealth(t, i, &tls.Config{InsecureSkipVerify: true})
			select {
			case link := <-i.ready:
				t.Errorf("the join link was printed: %s", link)
			default:
			}
		})
	}
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
		c.ACME = ACME{
			On: true, AgreeTerms: true, Directory: "https://acme-v02.api.letsencrypt.org/directory",
			Email: "operator@example.org",
		}
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
	c.PublicURL = "https://" + acmeHost
	c.ACME = ACME{On: true, AgreeTerms: true, Directory: "https://127.0.0.1:1", CA: file}
	c.RelayIP = "127.0.0.1"
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "--acme-ca") {
		t.Errorf("a file without a certificate: %v", err)
	}
}
