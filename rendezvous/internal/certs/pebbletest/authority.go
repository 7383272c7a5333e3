// Package pebbletest runs pebble, Let's Encrypt's small ACME server for tests, in
// the version that deploy/tools/go.mod names. It comes with a DNS server that
// resolves every name below .test to this machine.
package pebbletest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/logging/logtest"
	"github.com/easyfind-usb/easyfind/internal/loopbacktest"
	"github.com/easyfind-usb/easyfind/internal/waittest"
)

const (
	buildTimeout   = 5 * time.Minute
	requestTimeout = 30 * time.Second
)

// Options configures an authority.
type Options struct {
	TLSPort, HTTPPort int               // where it validates names, instead of 443 and 80; 0: nothing answers there
	Validity          time.Duration     // of certificates; 0: 90 days
	Accounts          map[string]string // HMAC keys of external accounts by key identifier; nil: none are required
	Refused           []string          // names for which it issues no certificate
}

// Authority is a running pebble.
type Authority struct {
	Directory  string // URL
	CA         string // file of the root certificate of the directory's server
	management string // URL
	log        logtest.Journal
}

// Start runs an authority until the test ends. It skips the test if pebble cannot
// be built, because there is no network.
func Start(t testing.TB, o Options) *Authority {
	t.Helper()
	program, err := build()
	if err != nil {
		if os.Getenv("EASYFIND_E2E_MUST_RUN") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if o.Validity == 0 {
		o.Validity = 90 * 24 * time.Hour
	}
	for _, port := range []*int{&o.TLSPort, &o.HTTPPort} {
		if *port == 0 {
			*port = deadPort(t)
		}
	}
	dns := serveDNS(t)
	return start(t, program, dns, o)
}

// start runs pebble, which cannot report a port that the system chose.
func start(t testing.TB, program, dns string, o Options) *Authority {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "key.pem")
	listen, manage := loopbacktest.Address(), loopbacktest.Address()
	a := &Authority{
		CA:        filepath.Join(dir, "cert.pem"),
		Directory: fmt.Sprintf("https://%s/dir", listen), management: fmt.Sprintf("https://%s", manage),
	}
	if err := certificate(a.CA, key, listen, manage); err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen.String(), "managementListenAddress": manage.String(),
		"certificate": a.CA, "privateKey": key,
		"tlsPort": o.TLSPort, "httpPort": o.HTTPPort, "keyAlgorithm": "ecdsa",
		"externalAccountBindingRequired": o.Accounts != nil, "externalAccountMACKeys": o.Accounts,
		"domainBlocklist": o.Refused,
		"retryAfter":      map[string]int{"authz": 1, "order": 1},
		"profiles": map[string]any{
			"default": map[string]any{"description": "test", "validityPeriod": int(o.Validity.Seconds())},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-config", file, "-dnsserver", dns)
	cmd.Env = append(cmd.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", "PEBBLE_AUTHZREUSE=0")
	cmd.Stdout, cmd.Stderr = &a.log, &a.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		cmd.Wait() // returns an error, because pebble is killed
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-exited
	})
	a.await(t, exited)
	return a
}

// build returns the path of the program, which go keeps in its build cache.
var build = sync.OnceValues(func() (string, error) {
	_, here, _, _ := runtime.Caller(0)
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "tool", "-n", "pebble")
	cmd.Dir = filepath.Join(filepath.Dir(here), "../../../../deploy/tools")
	cmd.Env = append(cmd.Environ(), "GOFLAGS=", "GOWORK=off")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build pebble: %w: %s", err, errs.String())
	}
	return strings.TrimSpace(string(out)), nil
})

// await waits until the authority answers.
func (a *Authority) await(t testing.TB, exited <-chan struct{}) {
	t.Helper()
	waittest.Until(t, "pebble answers", func() bool {
		select {
		case <-exited:
			t.Fatalf("pebble has exited: %s", a.Log())
		default:
		}
		_, err := a.get(a.Directory)
		return err == nil
	})
}

// get requests a resource of the authority.
func (a *Authority) get(url string) ([]byte, error) {
	raw, err := os.ReadFile(a.CA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(raw)
	client := &http.Client{
		Timeout:   requestTimeout,
		Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}},
	}
	res, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

// Roots returns the root certificates with which to verify issued certificates.
func (a *Authority) Roots(t testing.TB) *x509.CertPool {
	t.Helper()
	raw, err := a.get(a.management + "/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(raw) {
		t.Fatalf("no root: %s", raw)
	}
	return roots
}

// Log returns what pebble has logged.
func (a *Authority) Log() string { return a.log.String() }

var (
	orderLine   = regexp.MustCompile(`Added order "`)
	accountLine = regexp.MustCompile(`There are now \d+ accounts in memory`)
)

// Orders returns the number of certificates that were requested.
func (a *Authority) Orders() int { return len(orderLine.FindAllString(a.Log(), -1)) }

// Accounts returns the number of accounts that were created.
func (a *Authority) Accounts() int { return len(accountLine.FindAllString(a.Log(), -1)) }

// deadPort returns a TCP port of the loopback interface where every connection is
// closed at once, until the test ends.
func deadPort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return l.Addr().(*net.TCPAddr).Port
}
