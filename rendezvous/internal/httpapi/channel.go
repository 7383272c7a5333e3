package httpapi

import (
	"context"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/subscriber"
)

// Signalling serves signalling connections that come as WebSockets.
type Signalling interface {
	// ServeWebSocket answers a request by a connection, and calls ended when that
	// has ended, or at once without one. from is who asks, for the log; origin is
	// set where a reverse proxy that is trusted ends TLS.
	ServeWebSocket(w http.ResponseWriter, r *http.Request, from netip.Addr, origin ident.Origin, ended func())
}

// proxied reports whether a reverse proxy that is trusted brings a request.
func (s *server) proxied(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	a := peer.Addr().Unmap().WithZone("")
	for _, p := range s.cfg.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// origin is that of this rendezvous where a reverse proxy ends TLS, "" where the
// request came directly.
func (s *server) origin(r *http.Request) ident.Origin {
	if s.proxied(r) {
		return s.cfg.Origin
	}
	return ""
}

// withChannel hands on what a registration may be bound to.
func (s *server) withChannel(ctx huma.Context, next func(huma.Context)) {
	r, _ := humachi.Unwrap(ctx)
	c := registry.Channel{Origin: s.origin(r)}
	if e, err := api.Exporter(r.TLS); err == nil {
		c.Exporter = e
	}
	next(huma.WithValue(ctx, channelKey, c))
}

// channel is how a request came; its guards must have withChannel.
func channel(ctx context.Context) registry.Channel {
	c, _ := ctx.Value(channelKey).(registry.Channel)
	return c
}

// signal lets a source have so many signalling connections here.
func (s *server) signal(w http.ResponseWriter, r *http.Request) {
	from := middleware.GetClientIPAddr(r.Context())
	source := subscriber.Of(from)
	if !s.signals.enter(source) {
		write(w, tooMany(time.Minute))
		return
	}
	s.cfg.Signal.ServeWebSocket(w, r, from, s.origin(r), func() { s.signals.leave(source) })
}

// counter counts what each source has at a time.
type counter struct {
	max int // static

	mu  sync.Mutex
	has map[netip.Prefix]int // guarded by mu
}

func (c *counter) enter(source netip.Prefix) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.has[source] >= c.max {
		return false
	}
	c.has[source]++
	return true
}

func (c *counter) leave(source netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.has[source]--; c.has[source] == 0 {
		delete(c.has, source)
	}
}
