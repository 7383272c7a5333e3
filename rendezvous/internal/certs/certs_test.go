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
	// certmagic's limit of requests to an authority outlives what it limits.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"))
}

const patience = 30 * time.Second

// clock is a time that a test moves on.
type clock struct{ since atomic.Int64 }

func (c *clock) now() time.Time {
	return time.Unix(1_800_000_000, 0).Add(time.Duration(c.since.Load()))
}
func (c *clock) advance(d time.Duration) { c.since.Add(int64(d)) }

func basis(t *testing.T) (Config, *logtest.Journal) {
	t.Helper()
	log := &logtest.Journal{}
	return Config{
		Data: t.TempDir(), Host: "rendezvous.test", Secret: []byte("of all instances"), Logger: log.Logger(), Look: 5 * time.Millisecond,
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

// run runs it until the test ends.
func run(t *testing.T, keeper *Certificates) {
	t.Helper()
	var done sync.WaitGroup
	ctx := t.Context() // ends before the clean-up
	done.Go(func() {
		if err := keeper.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(done.Wait)
}

// writePair writes a certificate of a serial number and its key.
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

// replace gives a file another content, as those do who renew certificates.
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

// handshake connects as a client and returns what it saw.
func handshake(server, client *tls.Config) (tls.ConnectionState, error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	a.SetDeadline(time.Now().Add(patience))
	b.SetDeadline(time.Now().Add(patience))
	var serving sync.WaitGroup
	serving.Go(func() {
		conn := tls.Server(a, server)
		if conn.Handshake() == nil {
			conn.Write([]byte{1}) // behind the tickets
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

// anyone is a client that accepts every certificate.
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

func TestSelfSignedIsKept(t *testing.T) {
	c, _ := basis(t)
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
		t.Errorf("a broken file: %v", err)
	}
}

func TestFilesAreReadAgainUnderLoad(t *testing.T) {
	c, log := basis(t)
	f := pairIn(t)
	c.Files = &f
	now := time.Now()
	writePair(t, f, 1, now.Add(-time.Hour), now.AddDate(0, 3, 0))
	keeper := open(t, c)
	run(t, keeper)
	if keeper.Pin() != nil {
		t.Error("there is a pin for a certificate from files")
	}
	// Everyone goes on to connect, and nobody is refused, whatever the files are.
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
		waittest.Until(t, "the new certificate is shown", func() bool { return newest.Load() == serial })
		broken := f.Cert
		if serial%2 == 0 {
			broken = f.Key
		}
		replace(t, broken, []byte("-----BEGIN nothing"))
		waittest.Until(t, "what is broken is told", func() bool { return keeper.Status().Problem != "" })
	}
	writePair(t, f, 6, now.Add(-2*time.Hour), now.Add(-time.Hour))
	waittest.Until(t, "an expired certificate is told", func() bool { return strings.Contains(keeper.Status().Problem, "it expired") })
	writePair(t, f, 7, now.Add(time.Hour), now.AddDate(0, 3, 0))
	waittest.Until(t, "a certificate of the future is told", func() bool { return strings.Contains(keeper.Status().Problem, "is good from") })
	if err := os.Remove(f.Cert); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "a missing file is told", func() bool { return strings.Contains(keeper.Status().Problem, "no such file") })
	if got := serialOf(t, keeper); got != 5 {
		t.Errorf("certificate %d is shown, want the last good one", got)
	}
	writePair(t, f, 8, now.Add(-time.Hour), now.AddDate(0, 3, 8))
	waittest.Until(t, "the last certificate is shown", func() bool { return newest.Load() == 8 })
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

func TestReloadIsAtOnceAndAnswered(t *testing.T) {
	c, log := basis(t)
	f, reload := pairIn(t), make(chan struct{})
	c.Files, c.Reload, c.Look = &f, reload, time.Hour
	now := time.Now()
	writePair(t, f, 1, now.Add(-time.Hour), now.AddDate(0, 3, 0))
	keeper := open(t, c)
	run(t, keeper)
	asked := func(want string) {
		t.Helper()
		reload <- struct{}{}
		log.Await(t, want)
	}
	asked("have not changed")
	replace(t, f.Key, []byte("x"))
	asked("cannot be used")
	writePair(t, f, 2, now.Add(-time.Hour), now.AddDate(0, 3, 0))
	asked("have changed")
	if got := serialOf(t, keeper); got != 2 {
		t.Errorf("certificate %d", got)
	}
}

func TestFilesThatCannotBeUsedPreventAStart(t *testing.T) {
	c, _ := basis(t)
	f := pairIn(t)
	c.Files = &f
	if _, err := New(t.Context(), c); err == nil || !strings.Contains(err.Error(), "--tls-cert") {
		t.Errorf("no files: %v", err)
	}
	writePair(t, f, 1, time.Now(), time.Now().Add(time.Hour))
	replace(t, f.Key, bytes.Repeat([]byte("x"), maxPEM+1))
	if _, err := New(t.Context(), c); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a large file: %v", err)
	}
}

func TestExpiryIsWarnedOf(t *testing.T) {
	c, log := basis(t)
	f, time := pairIn(t), &clock{}
	c.Files, c.Now = &f, time.now
	const day = 24 * 3600 * 1e9
	writePair(t, f, 1, time.now(), time.now().Add(90*day))
	run(t, open(t, c))
	count := func(what string) int { return strings.Count(log.String(), what) }
	time.advance(75 * day)
	quiet := count("expires soon")
	time.advance(day + 1)
	waittest.Until(t, "a warning in the last two weeks", func() bool { return count("expires soon") == 1 })
	time.advance(day)
	waittest.Until(t, "another one a day later", func() bool { return count("expires soon") == 2 })
	if quiet != 0 || count("has expired") != 0 {
		t.Error("it warned too early")
	}
	time.advance(14 * day)
	waittest.Until(t, "an error", func() bool { return count("has expired") == 1 })
	if !strings.Contains(log.String(), "replace the files") {
		t.Error("it does not say what to do")
	}
}
