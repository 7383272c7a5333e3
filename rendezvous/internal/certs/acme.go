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

// LetsEncrypt is the directory of the authority that is asked by default.
const LetsEncrypt = certmagic.LetsEncryptProductionCA

// ACME is how a certificate is had from an authority, to whose terms the
// operator has agreed.
type ACME struct {
	Email     string // that the authority may write to; "" without
	Directory string // https URL
	CA        string // file of the certificates that the directory's own is checked against; "": the system's
	Account   *ExternalAccount

	HTTPS net.Addr // where the public port listens: the authority connects to port 443 of the host
	HTTP  net.Addr // where Challenges is served; nil without: it connects to port 80 of the host

	Store Store
	Key   []byte // encrypts what is kept in the store; nil: it is not encrypted
}

// ExternalAccount is what some authorities hand to their customers (RFC 8555
// section 7.3.4).
type ExternalAccount struct{ ID, Key string } // the key in base64url

// authority is the source of a certificate by ACME.
type authority struct {
	// Static.
	keeper   *Certificates
	host     string
	settings ACME
	storage  *storage
	keys     keys
	roots    *x509.CertPool // nil: the system's

	client  *client       // before started is closed it is not there
	started chan struct{} // closed by run
}

// client is certmagic, which has a goroutine until its cache is stopped.
type client struct {
	cache  *certmagic.Cache
	config *certmagic.Config
	issuer *certmagic.ACMEIssuer
	proof  *tls.Config // for handshakes that ask for the proof that the name is ours
}

// How often the store is asked for a newer certificate and the present one's
// date is looked at: a part of its life, between bounds.
const (
	checkPart = 60
	checkMin  = time.Second
	checkMax  = 10 * time.Minute
	atOnce    = 100 * time.Millisecond
)

// Waits after an attempt that did not come as far as the authority. Those that
// did are spaced by certmagic, from a minute to six hours, and one instance alone
// makes them.
const (
	retryMin = 10 * time.Second
	retryMax = 10 * time.Minute
)

// fromACME gets ready to get a certificate, and shows a self-signed one for the
// time being: that of the data directory if there is one, so that agents which
// know its pin come in meanwhile.
func (c *Certificates) fromACME(ctx context.Context, from Config) error {
	c.origin = FromACME
	c.remedy = "see why it is not renewed, or give another with --tls-cert and --tls-key"
	a := &authority{keeper: c, host: strings.ToLower(from.Host), settings: *from.ACME, keys: keys{from.Data}, started: make(chan struct{})}
	var err error
	if a.roots, err = rootsOf(a.settings.CA); err != nil {
		return err
	}
	if a.storage, err = newStorage(ctx, from.ACME.Store, from.ACME.Key, from.Now, from.Logger); err != nil {
		return err
	}
	own, err := kept(from.Data)
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
	c.shown.Store(&own) // not show: it is not what was asked for
	return nil
}

// newClient makes and starts certmagic.
func (a *authority) newClient() *client {
	logger, c := zapLogger(a.keeper.log), &client{}
	c.cache = certmagic.NewCache(c.options(checkMax, logger))
	c.config = certmagic.New(c.cache, certmagic.Config{
		Storage: a.storage, KeySource: a.keys, OnEvent: a.event, Logger: logger, DefaultServerName: a.host,
	})
	template := certmagic.ACMEIssuer{
		CA: a.settings.Directory, Email: a.settings.Email, Agreed: true, TrustedRoots: a.roots, Logger: logger,
		DisableHTTPChallenge: a.settings.HTTP == nil,
	}
	// It would listen for the challenges itself, were these ports not taken.
	template.ListenHost, template.AltTLSALPNPort = hostPort(a.settings.HTTPS)
	if a.settings.HTTP != nil {
		_, template.AltHTTPPort = hostPort(a.settings.HTTP)
	}
	if e := a.settings.Account; e != nil {
		template.ExternalAccount = &acme.EAB{KeyID: e.ID, MACKey: e.Key}
	}
	if net.ParseIP(a.host) != nil && a.settings.Directory == LetsEncrypt {
		template.Profile = "shortlived" // the only one in which it names addresses
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

// options are those of the cache. A certificate is renewed so long before the
// time that the authority suggests.
func (c *client) options(before time.Duration, logger *zap.Logger) certmagic.CacheOptions {
	return certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return c.config, nil },
		RenewCheckInterval: before, Logger: logger,
	}
}

// answer is for handshakes by which an authority checks that the name is ours
// (RFC 8737). Whichever instance has asked for that left the answer in the store.
func (a *authority) answer(hello *tls.ClientHelloInfo) *tls.Config {
	if len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != acmez.ACMETLS1Protocol || !matches(hello.ServerName, a.host) {
		return nil
	}
	if c := a.running(hello.Context()); c != nil {
		return c.proof
	}
	return nil
}

// running waits for run, for an instance that has just started is asked too; nil
// if ctx ends before.
func (a *authority) running(ctx context.Context) *client {
	select {
	case <-a.started:
		return a.client
	case <-ctx.Done():
		return nil
	}
}

// Challenges answers an authority that checks by HTTP that the name is ours (RFC
// 8555 section 8.3), and hands everything else to next.
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
		// Who asks for another host does not cost a look into the store.
		if strings.EqualFold(strings.Trim(host, "[]"), a.host) && certmagic.LooksLikeHTTPChallenge(r) {
			if c := a.running(r.Context()); c == nil || c.issuer.HandleHTTPChallenge(w, r) {
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// run gets the certificate, and a newer one in time, until ctx ends.
func (a *authority) run(ctx context.Context) error {
	c := a.newClient()
	defer c.cache.Stop()
	defer a.storage.wait()
	a.client = c
	close(a.started)
	retry := retryMin
	for ctx.Err() == nil {
		wait, err := a.check(ctx, c)
		if err != nil && ctx.Err() == nil {
			why := a.explain(err)
			a.keeper.trouble(why)
			a.keeper.log.Error("no newer certificate", "host", a.host, "reason", why, "again_in", retry)
			wait, retry = retry, min(2*retry, retryMax)
		} else {
			retry = retryMin
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

// check shows the certificate that is in the store, and gets one if there is
// none or it is due. It says when to check again.
func (a *authority) check(ctx context.Context, c *client) (time.Duration, error) {
	cert, err := c.config.CacheManagedCertificate(ctx, a.host)
	if errors.Is(err, fs.ErrNotExist) {
		a.keeper.log.Info("getting a certificate", "host", a.host, "directory", a.settings.Directory)
		return atOnce, c.config.ObtainCertAsync(ctx, a.host) // which blocks, whatever its name says
	}
	if err != nil {
		return 0, err
	}
	// The cache is for this one look: it would renew by itself, at its own times.
	defer c.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: a.host}})
	if !a.shows(cert.Leaf) {
		pair := cert.Certificate
		a.keeper.show(&pair)
		a.keeper.log.Info("the certificate is in use", "host", a.host, "issuer", cert.Leaf.Issuer.CommonName, "expires", cert.Leaf.NotAfter.UTC())
	}
	life := cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore)
	wait := min(max(life/checkPart, checkMin), checkMax)
	c.cache.SetOptions(c.options(wait, nil))
	if !cert.NeedsRenewal(c.config) {
		// Asks the authority whether the certificate should be renewed earlier (RFC 9773).
		return wait, c.cache.RenewManagedCertificates(ctx)
	}
	a.keeper.log.Info("renewing the certificate", "host", a.host, "expires", cert.Leaf.NotAfter.UTC())
	return atOnce, c.config.RenewCertAsync(ctx, a.host, false) // blocks too
}

// shows reports whether a certificate is the one that is shown.
func (a *authority) shows(leaf *x509.Certificate) bool {
	select {
	case <-a.keeper.ready:
		return a.keeper.shown.Load().Leaf.Equal(leaf)
	default:
		return false
	}
}

// event hears from certmagic of an attempt that failed and will be repeated.
func (a *authority) event(_ context.Context, name string, data map[string]any) error {
	err, ok := data["error"].(error)
	if name != "cert_failed" || !ok {
		return nil
	}
	why := a.explain(err)
	a.keeper.trouble(why)
	a.keeper.log.Error("no certificate from the authority: it is asked again, from a minute on and ever less often", "host", a.host, "reason", why)
	return nil
}

// keys makes the keys of certificates. The key of the self-signed certificate, if
// there has been one, goes on: agents know it by its pin, and would else take the
// new certificate for another server's.
type keys struct{ data string }

func (k keys) GenerateKey() (crypto.PrivateKey, error) {
	own, err := kept(k.data)
	if errors.Is(err, fs.ErrNotExist) {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	return own.PrivateKey, err
}

// rootsOf reads the certificates of a file; nil, for the system's, without one.
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
		return nil, fmt.Errorf("--acme-ca %s: there is no certificate in it: want PEM", path)
	}
	return roots, nil
}

// matches reports whether a server name of TLS means a host (RFC 8738 section 6
// for addresses).
func matches(name, host string) bool {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return strings.EqualFold(name, host)
	}
	return strings.EqualFold(name, reverse(ip))
}

// reverse is the name of an address for reverse lookups (RFC 1035 section 3.5, RFC
// 3596 section 2.5).
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

// hostPort is the address of a listener in parts.
func hostPort(a net.Addr) (string, int) {
	host, text, err := net.SplitHostPort(a.String())
	port, also := strconv.Atoi(text)
	if err != nil || also != nil {
		return "", 0
	}
	return host, port
}
