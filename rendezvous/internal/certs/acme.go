package certs

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"
)

// LetsEncrypt is the URL of the default authority's directory.
const LetsEncrypt = certmagic.LetsEncryptProductionCA

// ACME configures a certificate from an authority. The operator must have agreed
// to the authority's terms.
type ACME struct {
	Email     string // for messages from the authority; may be ""
	Directory string // https URL
	CA        string // file of the roots that the directory's certificate is verified with; "": the system's
	Account   *ExternalAccount

	HTTPS net.Addr // of the public port; the authority connects to port 443 of the host
	HTTP  net.Addr // where Challenges is served; the authority connects to port 80 of the host; may be nil

	Store Store
	Key   []byte // encrypts the values in the store; nil: they are not encrypted
}

// ExternalAccount is a customer's account that some authorities require (RFC 8555
// section 7.3.4).
type ExternalAccount struct{ ID, Key string } // Key is in base64url

// authority obtains a certificate by ACME.
type authority struct {
	// Static.
	keeper   *Certificates
	host     string
	settings ACME
	storage  *storage
	keys     keys
	roots    *x509.CertPool // nil: the system's

	client  *client       // nil until started is closed
	started chan struct{} // closed by run
}

// client holds the parts of certmagic. Its cache runs a goroutine until it is
// stopped.
type client struct {
	cache  *certmagic.Cache
	config *certmagic.Config
	issuer *certmagic.ACMEIssuer
	proof  *tls.Config // for handshakes that ask to prove that the host is ours
}

// The store is checked for a newer certificate, and the date of the current one,
// once per fraction of its lifetime, within bounds.
const (
	checkFraction = 60
	minCheckWait  = time.Second
	maxCheckWait  = 10 * time.Minute
	noWait        = 100 * time.Millisecond
)

// Time until the next attempt if one failed before it reached the authority.
// certmagic repeats the others after a minute at first and later after up to six
// hours; of all instances only the one that holds the lock makes them.
const (
	minRetryInterval = 10 * time.Second
	maxRetryInterval = 10 * time.Minute
)

// fromACME prepares to obtain a certificate. Until there is one, it presents a
// self-signed certificate: the one of the data directory if there is one, so that
// agents which know its pin can connect.
func (c *Certificates) fromACME(ctx context.Context, from Config) error {
	c.origin = FromACME
	c.remedy = "find out why it is not renewed, or set another with --tls-cert and --tls-key"
	a := &authority{
		keeper: c, host: strings.ToLower(from.Host), settings: *from.ACME, keys: keys{from.Data},
		started: make(chan struct{}),
	}
	var err error
	if a.roots, err = rootsOf(a.settings.CA); err != nil {
		return err
	}
	if a.storage, err = newStorage(ctx, from.ACME.Store, from.ACME.Key, from.Now, from.Logger); err != nil {
		return err
	}
	own, err := load(from.Data)
	if errors.Is(err, fs.ErrNotExist) {
		var key *ecdsa.PrivateKey
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err == nil {
			own, err = selfSign(key, from.Host, "EasyFind rendezvous, waiting for its certificate by ACME", from.Now())
		}
	}
	if err != nil {
		return fmt.Errorf("self-signed certificate in the data directory: %w", err)
	}
	c.source = a
	c.current.Store(&own) // not use: it is not from the configured source
	return nil
}

// newClient creates certmagic's parts, which starts its cache.
func (a *authority) newClient() *client {
	logger, c := zapLogger(a.keeper.log), &client{}
	c.cache = certmagic.NewCache(c.options(maxCheckWait, logger))
	c.config = certmagic.New(c.cache, certmagic.Config{
		Storage: a.storage, KeySource: a.keys, OnEvent: a.event, Logger: logger, DefaultServerName: a.host,
	})
	template := certmagic.ACMEIssuer{
		CA: a.settings.Directory, Email: a.settings.Email, Agreed: true, TrustedRoots: a.roots, Logger: logger,
		DisableHTTPChallenge: a.settings.HTTP == nil,
	}
	// certmagic would listen for the challenges itself if these ports were free.
	template.ListenHost, template.AltTLSALPNPort = hostPort(a.settings.HTTPS)
	if a.settings.HTTP != nil {
		_, template.AltHTTPPort = hostPort(a.settings.HTTP)
	}
	if e := a.settings.Account; e != nil {
		template.ExternalAccount = &acme.EAB{KeyID: e.ID, MACKey: e.Key}
	}
	if net.ParseIP(a.host) != nil && a.settings.Directory == LetsEncrypt {
		template.Profile = "shortlived" // the only profile with addresses in certificates
	}
	c.issuer = certmagic.NewACMEIssuer(c.config, template)
	c.config.Issuers = []certmagic.Issuer{c.issuer}
	c.proof = &tls.Config{
		MinVersion:             tls.VersionTLS12, // RFC 8737 section 3
		NextProtos:             []string{acmez.ACMETLS1Protocol},
		GetCertificate:         c.config.GetCertificate,
		SessionTicketsDisabled: true,
	}
	return c
}

// options returns the options of the cache. A certificate is renewed at the time
// that the authority suggests, or up to before earlier.
func (c *client) options(before time.Duration, logger *zap.Logger) certmagic.CacheOptions {
	return certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return c.config, nil },
		RenewCheckInterval: before, Logger: logger,
	}
}

// answer handles handshakes by which an authority checks that the host is ours
// (RFC 8737). The instance that requested the certificate left the answer in the
// store.
func (a *authority) answer(hello *tls.ClientHelloInfo) *tls.Config {
	protocols := hello.SupportedProtos
	if len(protocols) != 1 || protocols[0] != acmez.ACMETLS1Protocol || !matches(hello.ServerName, a.host) {
		return nil
	}
	if c := a.running(hello.Context()); c != nil {
		return c.proof
	}
	return nil
}

// running returns the client. It waits for run, because the authority may also
// connect to an instance that has just started. It returns nil if ctx ends first.
func (a *authority) running(ctx context.Context) *client {
	select {
	case <-a.started:
		return a.client
	case <-ctx.Done():
		return nil
	}
}

// Challenges returns a handler that answers an authority which checks by HTTP that
// the host is ours (RFC 8555 section 8.3). It passes all other requests to next.
func (c *Certificates) Challenges(next http.Handler) http.Handler {
	a, ok := c.source.(*authority)
	if !ok {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		// Requests for another host must not cost a query of the store.
		if strings.EqualFold(strings.Trim(host, "[]"), a.host) && certmagic.LooksLikeHTTPChallenge(r) {
			if c := a.running(r.Context()); c == nil || c.issuer.HandleHTTPChallenge(w, r) {
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// run obtains the certificate, and a newer one in time, until ctx ends.
func (a *authority) run(ctx context.Context) error {
	c := a.newClient()
	defer c.cache.Stop()
	defer a.storage.wait()
	a.client = c
	close(a.started)
	retry := minRetryInterval
	for ctx.Err() == nil {
		wait, err := a.check(ctx, c)
		if err != nil && ctx.Err() == nil {
			why := a.explain(err)
			a.keeper.fail(why)
			a.keeper.log.Error("cannot obtain a certificate", "host", a.host, "reason", why, "retry_in", retry)
			wait, retry = retry, min(2*retry, maxRetryInterval)
		} else {
			retry = minRetryInterval
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// check uses the certificate that is in the store. It requests one if the store has
// no certificate, or one that must be renewed. It returns the time until the next
// check.
func (a *authority) check(ctx context.Context, c *client) (time.Duration, error) {
	cert, err := c.config.CacheManagedCertificate(ctx, a.host)
	if errors.Is(err, fs.ErrNotExist) {
		a.keeper.log.Info("requesting a certificate", "host", a.host, "server", a.settings.Directory)
		return noWait, c.config.ObtainCertAsync(ctx, a.host) // blocks in spite of its name
	}
	if err != nil {
		return 0, err
	}
	// The certificate stays in the cache only during this call: the cache would
	// renew it at times of its own.
	defer c.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: a.host}})
	if !a.uses(cert.Leaf) {
		pair := cert.Certificate
		a.keeper.use(&pair)
		a.keeper.log.Info("the certificate is in use",
			"host", a.host, "issuer", cert.Leaf.Issuer.CommonName, "expires", cert.Leaf.NotAfter.UTC())
	}
	life := cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore)
	wait := min(max(life/checkFraction, minCheckWait), maxCheckWait)
	c.cache.SetOptions(c.options(wait, nil))
	if !cert.NeedsRenewal(c.config) {
		// This asks the authority whether to renew the certificate earlier (RFC 9773).
		return wait, c.cache.RenewManagedCertificates(ctx)
	}
	a.keeper.log.Info("renewing the certificate", "host", a.host, "expires", cert.Leaf.NotAfter.UTC())
	return noWait, c.config.RenewCertAsync(ctx, a.host, false) // blocks too
}

// uses reports whether a certificate is the current one.
func (a *authority) uses(leaf *x509.Certificate) bool {
	select {
	case <-a.keeper.ready:
		return a.keeper.current.Load().Leaf.Equal(leaf)
	default:
		return false
	}
}

// event handles certmagic's report of a failed attempt that it will repeat.
func (a *authority) event(_ context.Context, name string, data map[string]any) error {
	err, ok := data["error"].(error)
	if name != "cert_failed" || !ok {
		return nil
	}
	why := a.explain(err)
	a.keeper.fail(why)
	a.keeper.log.Error("cannot obtain a certificate from the authority; trying again, at first after a minute",
		"host", a.host, "reason", why)
	return nil
}

// keys generates the keys of certificates. If there is a self-signed certificate,
// the new one gets its key: agents know the pin of that key, and would take a
// certificate with another key for that of another server.
type keys struct{ data string }

func (k keys) GenerateKey() (crypto.PrivateKey, error) {
	own, err := load(k.data)
	if errors.Is(err, fs.ErrNotExist) {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	return own.PrivateKey, err
}

// rootsOf reads the certificates of a file. Without a file it returns nil, which
// stands for the system's.
func rootsOf(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--acme-ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("--acme-ca %s: no certificate found: want PEM", path)
	}
	return roots, nil
}

// matches reports whether the server name of a handshake stands for a host. The
// name of an IP address is that of RFC 8738 section 6.
func matches(name, host string) bool {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return strings.EqualFold(name, host)
	}
	return strings.EqualFold(name, reverse(ip))
}

// reverse returns the name of an address for reverse lookups (RFC 1035 section
// 3.5, RFC 3596 section 2.5).
func reverse(ip netip.Addr) string {
	raw, suffix := ip.AsSlice(), "in-addr.arpa"
	var labels []string
	for i := len(raw) - 1; i >= 0; i-- {
		if ip.Is4() {
			labels = append(labels, strconv.Itoa(int(raw[i])))
			continue
		}
		suffix = "ip6.arpa"
		labels = append(labels, strconv.FormatUint(uint64(raw[i]&15), 16), strconv.FormatUint(uint64(raw[i]>>4), 16))
	}
	return strings.Join(append(labels, suffix), ".")
}

// hostPort splits the address of a listener.
func hostPort(a net.Addr) (string, int) {
	host, text, err := net.SplitHostPort(a.String())
	port, also := strconv.Atoi(text)
	if err != nil || also != nil {
		return "", 0
	}
	return host, port
}
