// Package redirect serves the HTTP port that redirects clients to HTTPS. An authority
// may also use it to check that the server controls its name.
package redirect

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

// Bounds of the HTTP port.
const (
	timeout   = 10 * time.Second // of a request and of its answer
	maxHeader = 4096             // bytes
	maxConns  = 256              // at a time; more are closed
)

// Serve answers requests with a handler until ctx ends.
func Serve(ctx context.Context, l net.Listener, handler http.Handler, log *slog.Logger) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: timeout,
		ReadTimeout:       timeout,
		WriteTimeout:      timeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	server.SetKeepAlivesEnabled(false)
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(&limitListener{Listener: l}); !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return nil
}

// Handler redirects requests to an HTTPS server, whatever host they name. It refuses
// methods other than GET and HEAD.
func Handler(host, port string) http.Handler {
	if port != "443" {
		host = net.JoinHostPort(host, port)
	} else if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		host = "[" + host + "]"
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "Use https:// for this request.", http.StatusForbidden)
			return
		}
		to := url.URL{Scheme: "https", Host: host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
		http.Redirect(w, r, to.String(), http.StatusPermanentRedirect)
	})
}

// limitListener is a listener with at most maxConns connections at a time.
type limitListener struct {
	net.Listener
	open atomic.Int32
}

// Accept returns the next connection that does not exceed the limit.
func (b *limitListener) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if b.open.Add(1) <= maxConns {
			return &limitedConn{Conn: conn, release: sync.OnceFunc(func() { b.open.Add(-1) })}, nil
		}
		b.open.Add(-1)
		conn.Close()
	}
}

// limitedConn is a connection that counts against the limit.
type limitedConn struct {
	net.Conn
	release func()
}

// Close closes the connection, which then no longer counts.
func (c *limitedConn) Close() error {
	c.release()
	return c.Conn.Close()
}
