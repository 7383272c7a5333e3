package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Config selects the source of the certificate. Without Files and ACME it is
// self-signed.
type Config struct {
	Data   string // directory of the self-signed certificate
	Host   string // name or IP address in the certificate
	Files  *Files // nil: not from files
	ACME   *ACME  // nil: not by ACME
	Secret []byte // shared by all instances; the keys of session tickets are derived from it

	Reload <-chan struct{} // a value makes Run read the files at once; may be nil
	Logger *slog.Logger
	Now    func() time.Time // nil: the machine's clock
	// CheckInterval is the time between two checks of the files and of the
	// certificate's date. 0: 10 s.
	CheckInterval time.Duration
}

const defaultCheckInterval = 10 * time.Second

// Origin is the source of a certificate.
type Origin string

// The sources.
const (
	FromFiles  Origin = "files"
	FromACME   Origin = "acme"
	SelfSigned Origin = "self-signed"
)

// Status describes the certificate to an operator.
type Status struct {
	Origin  Origin
	Expires time.Time // zero while there is no certificate by ACME yet
	Problem string    // the reason why the last attempt at a newer one failed; "" if it did not fail
}

// source obtains certificates.
type source interface {
	// run makes the newest certificate the current one, until ctx ends.
	run(ctx context.Context) error
	// answer returns the configuration for a handshake by which an authority
	// checks that the host is ours, and nil for any other handshake.
	answer(*tls.ClientHelloInfo) *tls.Config
}

// Certificates holds the current certificate.
type Certificates struct {
	// Static after New.
	log     *slog.Logger
	now     func() time.Time
	check   time.Duration
	origin  Origin
	source  source // nil for a certificate that never changes
	tickets *tickets
	remedy  string // what the operator can do before the certificate expires
	first   sync.Once
	ready   chan struct{} // closed once there is a certificate from the configured source

	current atomic.Pointer[tls.Certificate]
	problem atomic.Pointer[string]
}

// New loads the certificate if there is one. It starts nothing. If files cannot be
// read or do not fit together, the error says what to do.
func New(ctx context.Context, c Config) (*Certificates, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.CheckInterval == 0 {
		c.CheckInterval = defaultCheckInterval
	}
	if len(c.Secret) == 0 || c.Logger == nil {
		return nil, errors.New("certificate: a secret and a logger are required")
	}
	k := &Certificates{
		log: c.Logger, now: c.Now, check: c.CheckInterval,
		tickets: &tickets{secret: c.Secret, now: c.Now}, ready: make(chan struct{}),
	}
	var err error
	switch {
	case c.Files != nil && c.ACME != nil:
		err = errors.New("a certificate comes either from files or by ACME")
	case c.Files != nil:
		err = k.fromFiles(c)
	case c.ACME != nil:
		err = k.fromACME(ctx, c)
	default:
		err = k.selfSigned(c)
	}
	if err != nil {
		return nil, err
	}
	return k, nil
}

// TLS returns the configuration of the public port, without application protocols.
func (c *Certificates) TLS() *tls.Config {
	config := &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
		WrapSession: func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
			return c.tickets.keys().EncryptTicket(state, session)
		},
		UnwrapSession: func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
			return c.tickets.keys().DecryptTicket(ticket, state)
		},
	}
	if c.source != nil {
		config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return c.source.answer(hello), nil
		}
	}
	return config
}

// Run keeps the certificate up to date until ctx ends, and logs warnings before it
// expires.
func (c *Certificates) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	all.Go(func() { c.warn(ctx) })
	if c.source == nil {
		<-ctx.Done()
		return nil
	}
	return c.source.run(ctx)
}

// Ready returns a channel that is closed once there is a certificate from the
// configured source.
func (c *Certificates) Ready() <-chan struct{} { return c.ready }

// Status returns the state of the certificate.
func (c *Certificates) Status() Status {
	s := Status{Origin: c.origin}
	select {
	case <-c.ready:
		s.Expires = c.current.Load().Leaf.NotAfter
	default:
	}
	if p := c.problem.Load(); p != nil {
		s.Problem = *p
	}
	return s
}

// use makes a certificate the current one and clears the problem. Its Leaf must be
// set.
func (c *Certificates) use(cert *tls.Certificate) {
	c.current.Store(cert)
	c.problem.Store(nil)
	c.first.Do(func() { close(c.ready) })
}

// fail stores why there is no newer certificate.
func (c *Certificates) fail(why string) { c.problem.Store(&why) }

// A certificate is worth a warning in its last two weeks, or in the last fifth of
// its lifetime if that is shorter. Automatic renewal happens earlier.
const (
	warnBefore   = 14 * 24 * time.Hour
	warnFraction = 5
	warnInterval = 24 * time.Hour
)

// warn logs once a day that the certificate expires soon or has expired.
func (c *Certificates) warn(ctx context.Context) {
	tick := time.NewTicker(c.check)
	defer tick.Stop()
	var last time.Time
	var warnedOf *tls.Certificate
	for {
		select {
		case <-c.ready:
			cert, now := c.current.Load(), c.now()
			if cert != warnedOf {
				warnedOf, last = cert, time.Time{}
			}
			if now.Sub(last) >= warnInterval && c.warned(cert, now) {
				last = now
			}
		default:
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// warned logs a warning if one is due, and reports whether it did.
func (c *Certificates) warned(cert *tls.Certificate, now time.Time) bool {
	leaf := cert.Leaf
	left := leaf.NotAfter.Sub(now)
	if left > min(warnBefore, leaf.NotAfter.Sub(leaf.NotBefore)/warnFraction) {
		return false
	}
	attributes := []any{"expires", leaf.NotAfter.UTC(), "remedy", c.remedy}
	if p := c.problem.Load(); p != nil {
		attributes = append(attributes, "reason", *p)
	}
	if left > 0 {
		c.log.Warn("the certificate expires soon", attributes...)
	} else {
		c.log.Error("the certificate has expired; agents that verify it cannot connect", attributes...)
	}
	return true
}
