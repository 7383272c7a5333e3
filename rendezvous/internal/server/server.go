// Package server assembles and runs one instance of the rendezvous: the database with its
// services, the certificate, the listener, the relay, the cluster, signalling and REST.
package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/config"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/redirect"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/restserver"
)

// Bounds of starting and stopping.
const (
	openTimeout    = 30 * time.Second // for the database
	drainTimeout   = 15 * time.Second // for peers to leave
	requestTimeout = 3 * time.Second  // for requests to finish
	stopTimeout    = 25 * time.Second // in total, with the peers that stay and closing the database
)

// Server is one instance of the rendezvous.
type Server struct {
	settings *config.Settings
	version  string
	reload   chan struct{} // has a buffer of one; makes the server read the certificate's files
}

// New returns a server with checked settings. It starts nothing.
func New(s *config.Settings, version string) *Server {
	return &Server{settings: s, version: version, reload: make(chan struct{}, 1)}
}

// Run serves until ctx ends. Then it disconnects the peers and returns nil.
func (s *Server) Run(ctx context.Context) error {
	p := &parts{settings: s.settings, version: s.version, reload: s.reload}
	if err := p.open(ctx); err != nil {
		return errors.Join(err, p.close())
	}
	running, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	var all sync.WaitGroup
	for _, run := range p.runners() {
		all.Go(func() {
			if err := run(running); err != nil {
				stop(err)
			}
		})
	}
	p.logAddresses()
	all.Go(func() { s.announce(running, p) })
	select {
	case <-ctx.Done():
		s.settings.Logger.Info("the rendezvous is stopping; disconnecting its peers",
			"peers", p.hub.Count(), "timeout", drainTimeout+requestTimeout)
		s.drain(p)
	case <-running.Done():
	}
	err := context.Cause(running)
	stop(nil)
	all.Wait()
	p.hub.Wait() // the listener has closed the connections
	s.settings.Logger.Info("the rendezvous has stopped")
	return errors.Join(err, p.close())
}

// runners returns the functions that run until their context ends.
func (p *parts) runners() []func(context.Context) error {
	log := p.settings.Logger
	all := []func(context.Context) error{
		p.services.Run, p.relay.Run, p.listener.Run, p.rest.Run, p.certs.Run,
		func(ctx context.Context) error { return p.cluster.Run(ctx, p.hub) },
	}
	if p.ports.metrics != nil {
		all = append(all, func(ctx context.Context) error {
			handler := p.metrics.Handler(p.snapshot)
			return restserver.ServeMetrics(ctx, p.ports.metrics, handler, log.With("part", "metrics"))
		})
	}
	if p.ports.redirect != nil {
		handler := p.certs.Challenges(redirect.Handler(p.settings.PublicHost, p.settings.PublicPort))
		all = append(all, func(ctx context.Context) error {
			return redirect.Serve(ctx, p.ports.redirect, handler, log.With("part", "http"))
		})
	}
	return all
}

// announce reports the join link as soon as this instance is ready and there is a
// certificate with which agents can join.
func (s *Server) announce(ctx context.Context, p *parts) {
	if s.settings.OnReady == nil {
		return
	}
	for _, ready := range []<-chan struct{}{p.certs.Ready(), p.cluster.Joined()} {
		select {
		case <-ready:
		case <-ctx.Done():
			return
		}
	}
	s.settings.OnReady(p.joinLink)
}

// Reload makes the server read the files of the certificate now. It does not block.
func (s *Server) Reload() {
	select {
	case s.reload <- struct{}{}:
	default:
	}
}

// drain lets the peers move to another instance, or wait until this one starts again,
// and finishes the requests.
func (s *Server) drain(p *parts) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	p.rest.Drain()
	err := p.hub.Drain(ctx)
	last, cancelLast := context.WithTimeout(context.Background(), requestTimeout)
	defer cancelLast()
	if err := errors.Join(err, p.rest.Shutdown(last)); err != nil {
		s.settings.Logger.Warn("some peers or requests did not finish in time", "err", err)
	}
}
