// Package restserver serves HTTP requests on the connections that the listener passes
// to it, and finishes them when the instance stops.
package restserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/listener"
)

// Bounds of HTTP requests.
const (
	headerTimeout = 10 * time.Second // of a request's header
	readTimeout   = 30 * time.Second // of a whole request
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10 // bytes
)

// ErrDraining is the reason why an instance that stops is not ready.
var ErrDraining = errors.New("the instance is stopping")

// Server serves REST and the admin page.
type Server struct {
	listeners []net.Listener
	server    *http.Server
	requests  context.CancelFunc // ends requests that wait for an event
	draining  *DrainState
}

// DrainState holds whether the instance is stopping.
type DrainState struct{ active atomic.Bool }

// Ready returns ErrDraining if the instance is stopping.
func (d *DrainState) Ready(context.Context) error {
	if d.active.Load() {
		return ErrDraining
	}
	return nil
}

// Active reports whether the instance is stopping.
func (d *DrainState) Active() bool { return d.active.Load() }

// New returns a server that answers on the HTTP connections of a listener. It starts
// nothing.
func New(l *listener.Listener, handler http.Handler, d *DrainState, log *slog.Logger) *Server {
	s := &Server{listeners: []net.Listener{l.HTTPS()}, draining: d}
	if plain := l.HTTP(); plain != nil {
		s.listeners = append(s.listeners, plain)
	}
	var base context.Context
	base, s.requests = context.WithCancel(context.Background())
	s.server = &http.Server{
		Handler:           listener.WithTLS(handler),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext:       listener.ConnContext,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return s
}

// Run answers requests until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.server.Close() })
	defer stop()
	failed := make(chan error, len(s.listeners))
	for _, l := range s.listeners {
		go func() { failed <- s.server.Serve(l) }()
	}
	var err error
	for range s.listeners {
		if one := <-failed; err == nil && !errors.Is(one, http.ErrServerClosed) {
			err = fmt.Errorf("serve HTTPS: %w", one)
			s.server.Close()
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Drain makes the instance not ready, so that load balancers send no more clients.
func (s *Server) Drain() { s.draining.active.Store(true) }

// Shutdown ends requests that wait for an event, and finishes the others.
func (s *Server) Shutdown(ctx context.Context) error {
	s.requests()
	return s.server.Shutdown(ctx)
}

// Close ends requests that wait for an event.
func (s *Server) Close() { s.requests() }

// ServeMetrics answers requests for /metrics on a listener until ctx ends.
func ServeMetrics(ctx context.Context, l net.Listener, handler http.Handler, log *slog.Logger) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", handler)
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: readTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}
