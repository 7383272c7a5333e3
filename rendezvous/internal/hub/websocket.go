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

// overWebSocket is a stream of bytes in binary messages, none larger than
// signal.MaxMessage in either direction.
type overWebSocket struct {
	net.Conn
	socket *websocket.Conn
	from   net.Addr
}

func (c overWebSocket) abort() { c.socket.CloseNow() }

// CloseWrite says nothing: a Bye has said it, and a WebSocket that is being
// closed would drop what the peer still confirms.
func (c overWebSocket) CloseWrite() error { return nil }

// RemoteAddr is who connected, as a trusted proxy tells it.
func (c overWebSocket) RemoteAddr() net.Addr { return c.from }

// Write sends p in as many messages as it takes.
func (c overWebSocket) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		var wrote int
		wrote, err = c.Conn.Write(p[:min(len(p), signal.MaxMessage)])
		n, p = n+wrote, p[wrote:]
	}
	return n, err
}

// ServeWebSocket answers a request by a signalling connection, and has its
// session run from then on like Serve. from is who asks. origin is set where a
// trusted proxy ends TLS: the Hello is bound to it there, and to the TLS
// connection everywhere else. Browsers of other sites are refused by their Origin
// header. ended is called once, when there is no connection or no more.
func (h *Hub) ServeWebSocket(w http.ResponseWriter, r *http.Request, from netip.Addr, origin ident.Origin, ended func()) {
	socket, bound := h.upgrade(w, r, from, origin)
	if socket == nil {
		ended()
		return
	}
	// The request's context ends with its handler, the session does not.
	ctx := context.WithoutCancel(r.Context())
	conn := overWebSocket{
		Conn: websocket.NetConn(ctx, socket, websocket.MessageBinary), socket: socket,
		from: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)),
	}
	socket.SetReadLimit(signal.MaxMessage) // NetConn has lifted it
	h.serve(ctx, conn, bound, ended)
}

// comeBack is how many seconds later to come back to an instance that takes
// nobody, or up to twice that: those who are refused together come back apart.
const comeBack = 2

// upgrade makes a WebSocket of a request, nil if it is answered otherwise.
func (h *Hub) upgrade(w http.ResponseWriter, r *http.Request, from netip.Addr, origin ident.Origin) (*websocket.Conn, signal.Binding) {
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
		w.Header().Set("Retry-After", strconv.Itoa(comeBack+rand.IntN(comeBack+1)))
		http.Error(w, "this instance takes no signalling connections at the moment", http.StatusServiceUnavailable)
		return nil, bound
	case !offers(r, subprotocol):
		http.Error(w, "this is a WebSocket of the subprotocol "+subprotocol+", which the request does not offer", http.StatusBadRequest)
		return nil, bound
	}
	socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{subprotocol}})
	if err != nil {
		h.log.Debug("refused a WebSocket", "remote", from, "reason", err)
		return nil, bound // it has been answered
	}
	return socket, bound
}

// full reports whether a connection would be closed at once.
func (h *Hub) full() bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.draining || len(h.greeting) == cap(h.greeting)
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
