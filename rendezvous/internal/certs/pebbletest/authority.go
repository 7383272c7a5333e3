// Package pebbletest runs pebble, the small ACME server that Let's Encrypt has
// for tests, built from the version that deploy/tools/go.mod names, and a DNS
// server in which every name below .test is this machine.
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
)

const (
	buildTime = 5 * time.Minute
	startTime = 30 * time.Second
)

// Options are what differs from one authority to the next.
type Options struct {
	TLSPort, HTTPPort int               // where it checks names, in place of 443 and 80; 0: nobody is there
	Validity          time.Duration     // of certificates; 0: 90 days
	Accounts          map[string]string // HMAC keys of external accounts by identifier; nil: none are wanted
	Refused           []string          // names for which it gives no certificate
}

// Authority is a running pebble.
type Authority struct {
	Directory  string // its URL
	CA         string // file of the certificate that its own is checked against
	management string
	log        logtest.Journal
}

// Start starts an authority, which ends with the test. Where it cannot be built,
// for want of a network, the test is skipped.
func Start(t testing.TB, o Options) *Authority {
	t.Helper()
	program, err := build()
	if err != nil {
		if os.Getenv("EASYFIND_E2E_MUST_RUN") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	a := &Authority{CA: filepath.Join(dir, "cert.pem")}
	if err := certificate(a.CA, filepath.Join(dir, "key.pem")); err != nil {
		t.Fatal(err)
	}
	listen, manage := fmt.Sprintf("127.0.0.1:%d", FreePort(t)), fmt.Sprintf("127.0.0.1:%d", FreePort(t))
	a.Directory, a.management = "https://"+listen+"/dir", "https://"+manage
	if o.Validity == 0 {
		o.Validity = 90 * 24 * time.Hour
	}
	nobody := FreePort(t)
	for _, port := range []*int{&o.TLSPort, &o.HTTPPort} {
		if *port == 0 {
			*port = nobody
		}
	}
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": manage,
		"certificate": a.CA, "privateKey": filepath.Join(dir, "key.pem"),
		"tlsPort": o.TLSPort, "httpPort": o.HTTPPort, "keyAlgorithm": "ecdsa",
		"externalAccountBindingRequired": o.Accounts != nil, "externalAccountMACKeys": o.Accounts,
		"domainBlocklist": o.Refused,
		"retryAfter":      map[string]int{"authz": 1, "order": 1},
		"profiles":        map[string]any{"default": map[string]any{"description": "test", "validityPeriod": int(o.Validity.Seconds())}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-config", file, "-dnsserver", serveDNS(t))
	cmd.Env = append(cmd.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", "PEBBLE_AUTHZREUSE=0")
	cmd.Stdout, cmd.Stderr = &a.log, &a.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() // with the error that it was killed
	})
	a.await(t)
	return a
}

// build returns the path of the program, which the build cache keeps.
var build = sync.OnceValues(func() (string, error) {
	_, here, _, _ := runtime.Caller(0)
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
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

func (a *Authority) await(t testing.TB) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	over := time.NewTimer(startTime)
	defer over.Stop()
	for {
		if _, err := a.get(a.Directory); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-over.C:
			t.Fatalf("pebble does not answer: %s", a.Log())
		}
	}
}

// get reads something of the authority's.
func (a *Authority) get(url string) ([]byte, error) {
	raw, err := os.ReadFile(a.CA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(raw)
	client := &http.Client{Timeout: startTime, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}}
	res, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

// Roots are what its certificates are checked against.
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

// Log is what it has said.
func (a *Authority) Log() string { return a.log.String() }

var (
	ordered = regexp.MustCompile(`Added order "`)
	account = regexp.MustCompile(`There are now \d+ accounts in memory`)
)

// Orders counts the certificates that it was asked for.
func (a *Authority) Orders() int { return len(ordered.FindAllString(a.Log(), -1)) }

// Accounts counts the accounts that were made.
func (a *Authority) Accounts() int { return len(account.FindAllString(a.Log(), -1)) }

// FreePort returns a TCP port of the loopback interface that is free now.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
