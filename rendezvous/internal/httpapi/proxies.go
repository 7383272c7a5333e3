package httpapi

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// proxies are the reverse proxies that end TLS in front of this rendezvous.
type proxies struct {
	trusted []netip.Prefix
	origin  ident.Origin // the origin at which peers reach them
}

// clientIP returns middleware that determines the client's address. chi's RealIP
// is not used, because it trusts the headers of every client.
func (p proxies) clientIP() func(http.Handler) http.Handler {
	if len(p.trusted) == 0 {
		return middleware.ClientIPFromRemoteAddr
	}
	var prefixes []string
	for _, t := range p.trusted {
		prefixes = append(prefixes, t.String())
	}
	return middleware.ClientIPFromXFF(prefixes...)
}

// forwarded reports whether a request comes through a trusted reverse proxy.
func (p proxies) forwarded(r *http.Request) bool {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	a := remote.Addr().Unmap().WithZone("")
	for _, t := range p.trusted {
		if t.Contains(a) {
			return true
		}
	}
	return false
}

// originOf returns the origin of this rendezvous if a trusted reverse proxy ended
// TLS, and "" if the request came directly.
func (p proxies) originOf(r *http.Request) ident.Origin {
	if p.forwarded(r) {
		return p.origin
	}
	return ""
}

// withChannel is a guard that stores in the context what a registration may be
// bound to.
func (p proxies) withChannel(ctx huma.Context, next func(huma.Context)) {
	r, _ := humachi.Unwrap(ctx)
	c := peers.Channel{Origin: p.originOf(r)}
	if e, err := api.Exporter(r.TLS); err == nil {
		c.Exporter = e
	}
	next(huma.WithValue(ctx, channelKey, c))
}

// channel returns the value that withChannel stored.
func channel(ctx context.Context) peers.Channel {
	c, _ := ctx.Value(channelKey).(peers.Channel)
	return c
}
