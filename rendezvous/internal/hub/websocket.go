package hub

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/coder/websocket"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// webSocketStream is a stream in binary messages of at most signal.MaxMessage bytes.
type webSocketStream struct {
	net.Conn
	socket *websocket.Conn
	from   net.Addr
}

func (s webSocketStream) abort() { s.socket.CloseNow() }

// CloseWrite does nothing. The peer knows the end from the Bye, and a WebSocket that is being closed would drop its
// last confirmations.
func (s webSocketStream) CloseWrite() error { return nil }

// RemoteAddr returns the address of the client, as a trusted proxy has given it.
func (s webSocketStream) RemoteAddr() net.Addr { return s.from }

// Write sends p in one message or several.
func (s webSocketStream) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		var wrote int
		wrote, err = s.Conn.Write(p[:min(len(p), signal.MaxMessage)])
		n, p = n+wrote, p[wrote:]
	}
	return n, err
}

// ServeWebSocket upgrades a request to a signalling connection and serves it like Serve. from is the address of the
// client. origin is set if a trusted proxy ends TLS: the Hello is then bound to the origin, and otherwise to the TLS
// connection. Requests of browsers on pages of other sites are refused by their Origin header. ended is called once:
// when the connection has ended, or when the upgrade fails.
func (h *Hub) ServeWebSocket(
	w http.ResponseWriter, r *http.Request, from netip.Addr, origin ident.Origin, ended func(),
) {
	socket, bound := h.upgrade(w, r, from, origin)
	if socket == nil {
		ended()
		return
	}
	// The context of the request ends with its handler, but the connection does not.
	ctx := context.WithoutCancel(r.Context())
	s := webSocketStream{
		Conn: websocket.NetConn(ctx, socket, websocket.MessageBinary), socket: socket,
		from: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)),
	}
	socket.SetReadLimit(signal.MaxMessage) // NetConn has removed the limit
	h.serve(ctx, s, bound, ended)
}

// retryAfter is the Retry-After of a refused client, in seconds. It is random between this and twice this, so that
// clients that were refused together do not return together.
const retryAfter = 2

// upgrade upgrades a request to a WebSocket, or answers it and returns nil.
func (h *Hub) upgrade(
	w http.ResponseWriter, r *http.Request, from netip.Addr, origin ident.Origin,
) (*websocket.Conn, signal.Binding) {
	subprotocol, bound := signal.SubprotocolOrigin, signal.BoundToOrigin(origin)
	if origin == "" {
		var err error
		if r.TLS == nil {
			http.Error(w, "signalling needs TLS", http.StatusForbidden)
			return nil, bound
		}
		if bound, err = signal.BoundToTLS(*r.TLS); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return nil, bound
		}
		subprotocol = signal.SubprotocolTLS
	}
	switch {
	case h.full():
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter+rand.IntN(retryAfter+1)))
		http.Error(w, "this instance takes no signalling connections at the moment", http.StatusServiceUnavailable)
		return nil, bound
	case !offers(r, subprotocol):
		http.Error(w, "this is a WebSocket of the subprotocol "+subprotocol+", which the request does not offer",
			http.StatusBadRequest)
		return nil, bound
	}
	socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{subprotocol}})
	if err != nil { // Accept has answered the request
		h.log.Debug("refused a WebSocket", "remote_addr", from, "err", err)
		return nil, bound
	}
	return socket, bound
}

// full reports whether the hub would close a new connection immediately.
func (h *Hub) full() bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.draining || len(h.greetings) == cap(h.greetings)
}

// offers reports whether a request offers a subprotocol.
func offers(r *http.Request, subprotocol string) bool {
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for offered := range strings.SplitSeq(line, ",") {
			if strings.TrimSpace(offered) == subprotocol {
				return true
			}
		}
	}
	return false
}
