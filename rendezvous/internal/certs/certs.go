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

// Config is what the certificate comes from. Without Files and ACME it is
// self-signed.
type Config struct {
	Data   string // directory of the self-signed certificate
	Host   string // for whom the certificate is: a name or an IP address
	Files  *Files // nil without
	ACME   *ACME  // nil without
	Secret []byte // that all instances share, for the keys of session tickets

	Reload <-chan struct{} // read the files now; nil is fine
	Logger *slog.Logger
	Now    func() time.Time // nil: the machine's clock
	Look   time.Duration    // how often the files and the dates are looked at; 0: 10 s
}

const defaultLook = 10 * time.Second

// Origin is where a certificate comes from.
type Origin string

// The origins.
const (
	FromFiles  Origin = "files"
	FromACME   Origin = "acme"
	SelfSigned Origin = "self-signed"
)

// Status is what an operator wants to know of the certificate.
type Status struct {
	Origin  Origin
	Expires time.Time // of the one that is shown; zero while there is none by ACME yet
	Problem string    // why the last attempt at a newer one failed; "" if it did not
}

// source brings certificates.
type source interface {
	// run shows what it has, at once and whenever that changes, until ctx ends.
	run(ctx context.Context) error
	// answer is the configuration for a handshake that is not for us but for an
	// authority which checks that the name is ours; nil if it is not one.
	answer(*tls.ClientHelloInfo) *tls.Config
}

// Certificates is the certificate that is shown, now and later.
type Certificates struct {
	// Static after New.
	log     *slog.Logger
	now     func() time.Time
	look    time.Duration
	origin  Origin
	source  source // nil if nothing ever changes
	tickets *tickets
	remedy  string // what to do before it expires
	first   sync.Once
	ready   chan struct{} // closed once there is what was asked for

	shown   atomic.Pointer[tls.Certificate]
	problem atomic.Pointer[string]
}

// New loads what is there already. It starts nothing. The error says what to do
// where files cannot be read or do not belong together.
func New(ctx context.Context, c Config) (*Certificates, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Look == 0 {
		c.Look = defaultLook
	}
	if len(c.Secret) == 0 || c.Logger == nil {
		return nil, errors.New("certificate: a secret and a logger are needed")
	}
	keeper := &Certificates{
		log: c.Logger, now: c.Now, look: c.Look, tickets: &tickets{secret: c.Secret, now: c.Now}, ready: make(chan struct{}),
	}
	var err error
	switch {
	case c.Files != nil && c.ACME != nil:
		err = errors.New("a certificate is either from files or by ACME")
	case c.Files != nil:
		err = keeper.fromFiles(c)
	case c.ACME != nil:
		err = keeper.fromACME(ctx, c)
	default:
		err = keeper.selfSigned(c)
	}
	if err != nil {
		return nil, err
	}
	return keeper, nil
}

// TLS is the configuration of the public port, which lacks the protocols.
func (c *Certificates) TLS() *tls.Config {
	config := &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.shown.Load(), nil },
		WrapSession: func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
			return c.tickets.keys().EncryptTicket(state, session)
		},
		UnwrapSession: func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
			return c.tickets.keys().DecryptTicket(ticket, state)
		},
	}
	if c.source != nil {
		config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) { return c.source.answer(hello), nil }
	}
	return config
}

// Run keeps the certificate until ctx ends, and warns before it expires.
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

// Ready is closed once there is the certificate that was asked for.
func (c *Certificates) Ready() <-chan struct{} { return c.ready }

// Status tells of the certificate.
func (c *Certificates) Status() Status {
	s := Status{Origin: c.origin}
	select {
	case <-c.ready:
		s.Expires = c.shown.Load().Leaf.NotAfter
	default:
	}
	if p := c.problem.Load(); p != nil {
		s.Problem = *p
	}
	return s
}

// show makes a certificate, whose Leaf is there, the one that is shown, and ends
// the problem there was.
func (c *Certificates) show(cert *tls.Certificate) {
	c.shown.Store(cert)
	c.problem.Store(nil)
	c.first.Do(func() { close(c.ready) })
}

// trouble keeps why there is none or no newer one.
func (c *Certificates) trouble(why string) { c.problem.Store(&why) }

// When a certificate is worth a warning: its last two weeks, or the last fifth
// of a short life. Whoever renews certificates by itself has done so by then.
const (
	warnDays  = 14 * 24 * time.Hour
	warnPart  = 5
	warnAgain = 24 * time.Hour
)

// warn says once a day that the certificate expires, or has expired.
func (c *Certificates) warn(ctx context.Context) {
	tick := time.NewTicker(c.look)
	defer tick.Stop()
	var last time.Time
	var of *tls.Certificate
	for {
		select {
		case <-c.ready:
			cert, now := c.shown.Load(), c.now()
			if cert != of {
				of, last = cert, time.Time{}
			}
			if now.Sub(last) >= warnAgain && c.warned(cert, now) {
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

// warned reports whether it had to warn.
func (c *Certificates) warned(cert *tls.Certificate, now time.Time) bool {
	leaf := cert.Leaf
	left := leaf.NotAfter.Sub(now)
	if left > min(warnDays, leaf.NotAfter.Sub(leaf.NotBefore)/warnPart) {
		return false
	}
	attributes := []any{"expires", leaf.NotAfter.UTC(), "left", left.Round(time.Second), "what_to_do", c.remedy}
	if p := c.problem.Load(); p != nil {
		attributes = append(attributes, "reason", *p)
	}
	if left > 0 {
		c.log.Warn("the certificate expires soon", attributes...)
	} else {
		c.log.Error("the certificate has expired: agents that check it stay away", attributes...)
	}
	return true
}
