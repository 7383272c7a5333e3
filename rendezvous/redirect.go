package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of the HTTP port, which has little to say.
const (
	redirectTime   = 10 * time.Second // of a request, and of its answer
	redirectHeader = 4096             // bytes
	redirectConns  = 256              // at a time; more are closed
)

// redirect is an HTTP port that answers an authority's challenges and sends
// everyone else to HTTPS.
type redirect struct{ listener net.Listener }

// serve answers until ctx ends.
func (r *redirect) serve(ctx context.Context, handler http.Handler, log *slog.Logger) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: redirectTime,
		ReadTimeout:       redirectTime,
		WriteTimeout:      redirectTime,
		MaxHeaderBytes:    redirectHeader,
		ErrorLog:          slog.NewLogLogger(log.With("part", "http").Handler(), slog.LevelDebug),
	}
	server.SetKeepAlivesEnabled(false)
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(&bounded{Listener: r.listener}); !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return nil
}

// toHTTPS sends who asks to read something to the public URL, whatever host it
// says that it asks.
func (s *settings) toHTTPS() http.Handler {
	host := s.publicHost
	if s.publicPort != "443" {
		host = net.JoinHostPort(s.publicHost, s.publicPort)
	} else if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		host = "[" + host + "]"
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "This server is asked with https:// only.", http.StatusForbidden)
			return
		}
		to := url.URL{Scheme: "https", Host: host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
		http.Redirect(w, r, to.String(), http.StatusPermanentRedirect)
	})
}

// bounded is a listener with at most redirectConns connections at a time.
type bounded struct {
	net.Listener
	open atomic.Int32
}

// Accept returns the next connection for which there is room.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if b.open.Add(1) <= redirectConns {
			return &counted{Conn: conn, gone: sync.OnceFunc(func() { b.open.Add(-1) })}, nil
		}
		b.open.Add(-1)
		conn.Close()
	}
}

type counted struct {
	net.Conn
	gone func()
}

// Close closes the connection and frees its place.
func (c *counted) Close() error {
	c.gone()
	return c.Conn.Close()
}
