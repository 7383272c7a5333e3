package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/internal/logging/logtest"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

func TestMain(m *testing.M) {
	// A rate limiter of certmagic keeps its goroutine after its client was stopped.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"))
}

// clock is a clock that a test sets forward.
type clock struct{ since atomic.Int64 }

func (c *clock) now() time.Time {
	return time.Unix(1_800_000_000, 0).Add(time.Duration(c.since.Load()))
}
func (c *clock) advance(d time.Duration) { c.since.Add(int64(d)) }

func newConfig(t *testing.T) (Config, *logtest.Journal) {
	t.Helper()
	log := &logtest.Journal{}
	return Config{
		Data: t.TempDir(), Host: "rendezvous.test", Secret: []byte("of all instances"), Logger: log.Logger(),
		CheckInterval: 5 * time.Millisecond,
	}, log
}

func open(t *testing.T, c Config) *Certificates {
	t.Helper()
	keeper, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return keeper
}

// run runs keeper until the test ends.
func run(t *testing.T, keeper *Certificates) {
	t.Helper()
	var done sync.WaitGroup
	ctx := t.Context() // ends before the cleanup
	done.Go(func() {
		if err := keeper.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(done.Wait)
}

// writePair writes a certificate with a serial number and its key.
func writePair(t *testing.T, f Files, serial int64, from, until time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"rendezvous.test"}, NotBefore: from, NotAfter: until,
	}, &x509.Certificate{SerialNumber: big.NewInt(1)}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, f.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	replace(t, f.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// replace replaces a file atomically, as programs do that renew certificates.
func replace(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func pairIn(t *testing.T) Files {
	t.Helper()
	dir := t.TempDir()
	return Files{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
}

// handshake connects to server as client and returns the client's connection state.
func handshake(server, client *tls.Config) (tls.ConnectionState, error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	a.SetDeadline(time.Now().Add(waittest.Timeout))
	b.SetDeadline(time.Now().Add(waittest.Timeout))
	var serving sync.WaitGroup
	serving.Go(func() {
		conn := tls.Server(a, server)
		if conn.Handshake() == nil {
			conn.Write([]byte{1}) // the client receives it after the tickets
		}
		conn.Close()
	})
	defer serving.Wait()
	conn := tls.Client(b, client)
	if err := conn.Handshake(); err != nil {
		b.Close()
		return tls.ConnectionState{}, err
	}
	var one [1]byte
	if _, err := conn.Read(one[:]); err != nil {
		b.Close()
		return tls.ConnectionState{}, err
	}
	state := conn.ConnectionState()
	b.Close()
	return state, nil
}

// anyone returns the configuration of a client that accepts every certificate.
func anyone() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: "rendezvous.test"}
}

func serialOf(t *testing.T, keeper *Certificates) int64 {
	t.Helper()
	state, err := handshake(keeper.TLS(), anyone())
	if err != nil {
		t.Fatal(err)
	}
	return state.PeerCertificates[0].SerialNumber.Int64()
}

func TestSelfSignedCertificateSurvivesRestart(t *testing.T) {
	c, _ := newConfig(t)
	keeper := open(t, c)
	pin := keeper.Pin()
	if state, err := handshake(keeper.TLS(), ident.PinnedTLS(*pin)); err != nil || state.Version != tls.VersionTLS13 {
		t.Errorf("handshake: %v", err)
	}
	if s := keeper.Status(); s.Origin != SelfSigned || time.Until(s.Expires) < 19*365*24*time.Hour {
		t.Errorf("status %+v", s)
	}
	if again := open(t, c).Pin(); *again != *pin {
		t.Error("another pin after a restart")
	}
	for _, name := range []string{CertFile, KeyFile} {
		if info, err := os.Stat(filepath.Join(c.Data, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if err := os.WriteFile(filepath.Join(c.Data, CertFile), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), c); err == nil || !strings.Contains(err.Error(), "data directory") {
		t.Errorf("with a damaged file: %v", err)
	}
}

func TestFilesAreReadAgainUnderLoad(t *testing.T) {
	c, log := newConfig(t)
	f := pairIn(t)
	c.Files = &f
	now := time.Now()
	writePair(t, f, 1, now.Add(-time.Hour), now.AddDate(0, 3, 0))
	keeper := open(t, c)
	run(t, keeper)
	if keeper.Pin() != nil {
		t.Error("a certificate from files has a pin")
	}
	// Clients connect all the time. No handshake fails, whatever the files contain.
	config := keeper.TLS()
	stop, newest := make(chan struct{}), atomic.Int64{}
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				state, err := handshake(config, anyone())
				if err != nil {
					t.Errorf("a handshake failed: %v", err)
					return
				}
				newest.Store(state.PeerCertificates[0].SerialNumber.Int64())
			}
		})
	}
	for serial := int64(2); serial <= 5; serial++ {
		writePair(t, f, serial, now.Add(-time.Hour), now.AddDate(0, 3, int(serial)))
		waittest.Until(t, "the new certificate is in use", func() bool { return newest.Load() == serial })
		broken := f.Cert
		if serial%2 == 0 {
			broken = f.Key
		}
		replace(t, broken, []byte("-----BEGIN nothing"))
		waittest.Until(t, "the damaged file is reported", func() bool { return keeper.Status().Problem != "" })
	}
	writePair(t, f, 6, now.Add(-2*time.Hour), now.Add(-time.Hour))
	reported := func(problem string) func() bool {
		return func() bool { return strings.Contains(keeper.Status().Problem, problem) }
	}
	waittest.Until(t, "the expired certificate is reported", reported("it expired"))
	writePair(t, f, 7, now.Add(time.Hour), now.AddDate(0, 3, 0))
	waittest.Until(t, "the certificate of the future is reported", reported("valid only from"))
	if err := os.Remove(f.Cert); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the missing file is reported", reported("no such file"))
	if got := serialOf(t, keeper); got != 5 {
		t.Errorf("certificate %d is in use, want the last good one", got)
	}
	writePair(t, f, 8, now.Add(-time.Hour), now.AddDate(0, 3, 8))
	waittest.Until(t, "the last certificate is in use", func() bool { return newest.Load() == 8 })
	close(stop)
	clients.Wait()
	s := keeper.Status()
	if s.Origin != FromFiles || s.Problem != "" || s.Expires.Unix() != now.AddDate(0, 3, 8).Unix() {
		t.Errorf("status %+v", s)
	}
	if n := strings.Count(log.String(), "cannot be used"); n < 7 || n > 12 {
		t.Errorf("%d errors in the log, want one for each of 7 states", n)
	}
}

func TestReloadTakesEffectAtOnce(t *testing.T) {
	c, log := newConfig(t)
	f, reload := pairIn(t), make(chan struct{})
	c.Files, c.Reload, c.CheckInterval = &f, reload, time.Hour
	now := time.Now()
	writePair(t, f, 1, now.Add(-time.Hour), now.AddDate(0, 3, 0))
	keeper := open(t, c)
	run(t, keeper)
	reloadLogs := func(want string) {
		t.Helper()
		reload <- struct{}{}
		log.Await(t, want)
	}
	reloadLogs("have not changed")
	replace(t, f.Key, []byte("x"))
	reloadLogs("cannot be used")
	writePair(t, f, 2, now.Add(-time.Hour), now.AddDate(0, 3, 0))
	reloadLogs("have changed")
	if got := serialOf(t, keeper); got != 2 {
		t.Errorf("certificate %d", got)
	}
}

func TestServerDoesNotStartWithUnusableFiles(t *testing.T) {
	c, _ := newConfig(t)
	f := pairIn(t)
	c.Files = &f
	if _, err := New(t.Context(), c); err == nil || !strings.Contains(err.Error(), "--tls-cert") {
		t.Errorf("without files: %v", err)
	}
	writePair(t, f, 1, time.Now(), time.Now().Add(time.Hour))
	replace(t, f.Key, bytes.Repeat([]byte("x"), maxPEM+1))
	if _, err := New(t.Context(), c); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("with a large file: %v", err)
	}
}

func TestWarnsBeforeExpiry(t *testing.T) {
	c, log := newConfig(t)
	f, time := pairIn(t), &clock{}
	c.Files, c.Now = &f, time.now
	const day = 24 * 3600 * 1e9
	writePair(t, f, 1, time.now(), time.now().Add(90*day))
	run(t, open(t, c))
	count := func(what string) int { return strings.Count(log.String(), what) }
	time.advance(75 * day)
	quiet := count("expires soon")
	time.advance(day + 1)
	waittest.Until(t, "there is a warning in the last two weeks", func() bool { return count("expires soon") == 1 })
	time.advance(day)
	waittest.Until(t, "there is another warning a day later", func() bool { return count("expires soon") == 2 })
	if quiet != 0 || count("has expired") != 0 {
		t.Error("the warning came too early")
	}
	time.advance(14 * day)
	waittest.Until(t, "there is an error", func() bool { return count("has expired") == 1 })
	if !strings.Contains(log.String(), "replace the files") {
		t.Error("the warning does not say what to do")
	}
}
