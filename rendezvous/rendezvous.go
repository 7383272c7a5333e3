package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/certs"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/cluster"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/hub"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/listener"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/metrics"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/services"
)

// Version is what the server says it is.
const Version = "0.1.0"

// Times of starting and stopping.
const (
	openWait  = 30 * time.Second // for the database
	drainWait = 15 * time.Second // for peers to go
	lastWait  = 3 * time.Second  // for requests to be finished
	stopWait  = 25 * time.Second // all in all, with who stays to the last and the letting go of the database
)

// Server is one instance of the rendezvous.
type Server struct {
	settings settings // static after New
}

// New checks the configuration. It starts nothing.
func New(c Config) (*Server, error) {
	s, err := c.check()
	if err != nil {
		return nil, err
	}
	return &Server{settings: s}, nil
}

// parts is everything that runs, in the order in which it is opened.
type parts struct {
	listener net.Listener // HTTPS
	plain    net.Listener // HTTP from reverse proxies; nil without
	links    net.Listener // from other instances; nil without a cluster
	scrapes  net.Listener // from Prometheus; nil without
	metrics  *metrics.Metrics
	redirect *redirect // HTTP, for who does not know of HTTPS; nil without
	sockets  *relay.Sockets
	database *database.Database
	services *services.Services
	cluster  *cluster.Cluster
	hub      *hub.Hub
	relay    *relay.Relay
	certs    *certs.Certificates
	front    *listener.Listener
	https    *https
	joinLink string
}

// Run serves until ctx ends, then sends the peers away and returns nil.
func (s *Server) Run(ctx context.Context) error {
	var p parts
	if err := s.settings.open(ctx, &p); err != nil {
		return errors.Join(err, p.close())
	}
	running, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	var all sync.WaitGroup
	start := func(run func(context.Context) error) {
		all.Go(func() {
			if err := run(running); err != nil {
				stop(err)
			}
		})
	}
	start(p.services.Run)
	start(p.relay.Run)
	start(func(ctx context.Context) error { return p.cluster.Run(ctx, p.hub) })
	start(p.front.Run)
	start(p.https.serve)
	if p.scrapes != nil {
		start(s.settings.serveMetrics(&p))
	}
	start(p.certs.Run)
	if p.redirect != nil {
		start(func(ctx context.Context) error {
			return p.redirect.serve(ctx, p.certs.Challenges(s.settings.toHTTPS()), s.settings.Logger)
		})
	}
	s.settings.Logger.Info("the rendezvous is serving", "addr", p.listener.Addr().String(),
		"stun_addr", p.sockets.Address().String(), "relay_addr", s.settings.relayIP.String(), "dir", s.settings.Data)
	if p.scrapes != nil {
		s.settings.Logger.Info("serving metrics", "addr", p.scrapes.Addr().String())
	}
	if p.redirect != nil {
		s.settings.Logger.Info("redirecting HTTP to HTTPS", "addr", p.redirect.listener.Addr().String())
	}
	if p.links != nil {
		s.settings.Logger.Info("accepting links from other instances", "addr", p.links.Addr().String())
	}
	if p.plain != nil {
		s.settings.Logger.Info("accepting connections from reverse proxies", "addr", p.plain.Addr().String())
	}
	if hereOnly(s.settings.publicHost) {
		s.settings.Logger.Warn("the join link works on this machine only; set --public-url to the address for others",
			"host", s.settings.publicHost)
	}
	s.announce(running, &p, &all)
	select {
	case <-ctx.Done():
		s.settings.Logger.Info("the rendezvous is stopping; disconnecting its peers",
			"peers", p.hub.Count(), "timeout", drainWait+lastWait)
		s.drain(&p)
	case <-running.Done():
	}
	err := context.Cause(running)
	stop(nil)
	all.Wait()
	p.hub.Wait() // the listener has closed the connections
	s.settings.Logger.Info("the rendezvous has stopped")
	return errors.Join(err, p.close())
}

// announce tells the join link: at once, or when there is the certificate without
// which nobody can join.
func (s *Server) announce(ctx context.Context, p *parts, all *sync.WaitGroup) {
	if s.settings.OnReady == nil {
		return
	}
	select {
	case <-p.certs.Ready():
		s.settings.OnReady(p.joinLink)
		return
	default:
	}
	all.Go(func() {
		select {
		case <-p.certs.Ready():
			s.settings.OnReady(p.joinLink)
		case <-ctx.Done():
		}
	})
}

// Reload has the files of the certificate read now. It does not block.
func (s *Server) Reload() {
	select {
	case s.settings.reload <- struct{}{}:
	default:
	}
}

// drain lets the peers go to another instance, or wait for this one to start
// again, and finishes the requests.
func (s *Server) drain(p *parts) {
	ctx, cancel := context.WithTimeout(context.Background(), drainWait)
	defer cancel()
	p.https.refuse()
	err := p.hub.Drain(ctx)
	last, cancelLast := context.WithTimeout(context.Background(), lastWait)
	defer cancelLast()
	if err := errors.Join(err, p.https.shutdown(last)); err != nil {
		s.settings.Logger.Warn("not everybody has left in time", "reason", err)
	}
}

// close lets go of what open opened and nothing else closes. Closing again what
// is closed already is fine.
func (p *parts) close() error {
	for _, l := range []net.Listener{p.listener, p.plain, p.links, p.scrapes} {
		if l != nil {
			l.Close()
		}
	}
	if p.redirect != nil {
		p.redirect.listener.Close()
	}
	if p.sockets != nil {
		p.sockets.Close()
	}
	if p.https != nil {
		p.https.requests()
	}
	if p.database == nil {
		return nil
	}
	if err := p.database.Close(); err != nil {
		return fmt.Errorf("close the database: %w", err)
	}
	return nil
}

// open opens everything, the cheapest to refuse first. What it has opened when
// it fails is in p.
func (s *settings) open(ctx context.Context, p *parts) error {
	ctx, cancel := context.WithTimeout(ctx, openWait)
	defer cancel()
	if err := os.MkdirAll(s.Data, 0o700); err != nil {
		return fmt.Errorf("data directory: %w: choose another with --data, or let this user write there", err)
	}
	if err := s.listen(p); err != nil {
		return err
	}
	if err := s.locate(p.listener.Addr()); err != nil {
		return err
	}
	p.metrics = metrics.New(metrics.Config{Version: Version, Read: s.snapshot(p)})
	if err := s.openServices(ctx, p); err != nil {
		return err
	}
	if err := s.openCertificates(ctx, p); err != nil {
		return err
	}
	if err := s.openFront(p); err != nil {
		return err
	}
	if err := s.openRelay(ctx, p); err != nil {
		return err
	}
	if err := s.openSignalling(ctx, p); err != nil {
		return err
	}
	var err error
	if p.https, err = s.newHTTPS(p); err != nil {
		return err
	}
	if p.joinLink, err = s.joinLink(ctx, p.services.Invites, s.shownPin(p)); err != nil {
		return err
	}
	return s.keepAdminLink(ctx, p.services.Administration, s.shownPin(p))
}

// listen takes the ports.
func (s *settings) listen(p *parts) (err error) {
	if p.listener, err = net.Listen("tcp", s.Listen); err != nil {
		return fmt.Errorf("listen for HTTPS: %w: stop what uses the port, or choose another with --listen", err)
	}
	if p.sockets, err = relay.Listen(s.STUNListen, s.alternate[1]); err != nil {
		return err
	}
	if s.HTTPListen != "" {
		if p.plain, err = net.Listen("tcp", s.HTTPListen); err != nil {
			return fmt.Errorf("listen for reverse proxies: %w: stop what uses the port, or choose another with --http-listen", err)
		}
	}
	if p.scrapes, err = s.listenMetrics(); err != nil {
		return err
	}
	if s.ACME.Listen != "" {
		http, err := net.Listen("tcp", s.ACME.Listen)
		if err != nil {
			return fmt.Errorf("listen for HTTP: %w: stop what uses the port, or choose another with --acme-http-listen", err)
		}
		p.redirect = &redirect{http}
	}
	if s.ClusterListen == "" {
		return nil
	}
	if p.links, err = net.Listen("tcp", s.ClusterListen); err != nil {
		return fmt.Errorf("listen for other instances: %w: stop what uses the port, or choose another with --cluster-listen", err)
	}
	return nil
}
