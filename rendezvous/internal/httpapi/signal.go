package httpapi

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/go-chi/chi/v5/middleware"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Signalling serves signalling connections that arrive as WebSockets.
type Signalling interface {
	// ServeWebSocket upgrades a request to a connection. It calls ended when the
	// connection has ended, or immediately if there is none. from is the client's
	// address, for the log. origin is set if a trusted reverse proxy ended TLS.
	ServeWebSocket(w http.ResponseWriter, r *http.Request, from netip.Addr, origin ident.Origin, ended func())
}

// signalHandler bounds the signalling connections of each source.
type signalHandler struct {
	signalling  Signalling
	proxies     proxies
	connections counter
}

func (h *signalHandler) serve(w http.ResponseWriter, r *http.Request) {
	source := sourceOf(r.Context())
	if !h.connections.enter(source) {
		write(w, tooMany(time.Minute))
		return
	}
	from := middleware.GetClientIPAddr(r.Context())
	h.signalling.ServeWebSocket(w, r, from, h.proxies.originOf(r), func() { h.connections.leave(source) })
}

// counter counts the open connections of each source.
type counter struct {
	max int // read-only

	mu    sync.Mutex
	count map[netip.Prefix]int // guarded by mu
}

// enter counts a connection, and reports whether the source may have it.
func (c *counter) enter(source netip.Prefix) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count[source] >= c.max {
		return false
	}
	c.count[source]++
	return true
}

// leave counts the end of a connection.
func (c *counter) leave(source netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count[source]--; c.count[source] == 0 {
		delete(c.count, source)
	}
}
