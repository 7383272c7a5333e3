package httpapi

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/go-chi/chi/v5/middleware"

	"github.com/easyfind-usb/easyfind/internal/limits"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Signalling serves signalling connections that arrive as WebSockets.
type Signalling interface {
	// ServeWebSocket upgrades a request to a connection. It calls ended when the
	// connection has ended, or immediately if the upgrade fails. from is the client's
	// address, for the log. origin is set if a trusted reverse proxy ended TLS.
	ServeWebSocket(w http.ResponseWriter, r *http.Request, from netip.Addr, origin ident.Origin, ended func())
}

// signalHandler bounds the signalling connections of each source.
type signalHandler struct {
	signalling  Signalling
	proxies     proxies
	connections *limits.Counter[netip.Prefix]
}

func (h *signalHandler) serve(w http.ResponseWriter, r *http.Request) {
	source := sourceOf(r.Context())
	if !h.connections.Enter(source) {
		write(w, tooMany(time.Minute))
		return
	}
	from := middleware.GetClientIPAddr(r.Context())
	h.signalling.ServeWebSocket(w, r, from, h.proxies.originOf(r), func() { h.connections.Leave(source) })
}
