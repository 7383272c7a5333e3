package rendezvous

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/httpapi"
)

// alpnTURN is TURN over TLS (RFC 7443 section 3.1).
const alpnTURN = "stun.turn"

// Bounds of HTTP requests.
const (
	headerTimeout = 10 * time.Second // of the TLS handshake and of a request's header
	readTimeout   = 30 * time.Second // of a whole request
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10 // bytes
)

// https is the one public port: REST, signalling and TURN over TLS, told apart
// by ALPN.
type https struct {
	listener net.Listener
	server   *http.Server
	requests context.CancelFunc // ends those that wait for an event
	draining atomic.Bool
}

var errDraining = errors.New("the instance is stopping")

// newHTTPS puts the REST interface, the hub and the relay behind the listener.
func (s *settings) newHTTPS(p *parts, cert tls.Certificate) (*https, error) {
	h := &https{listener: p.listener}
	stun, turn := s.uris(p.sockets.Port())
	handler, err := httpapi.New(httpapi.Config{
		Registry: p.registry,
		Presence: presence{p.hub, p.cluster},
		Relay:    relayAccess{p.relay, turn},
		Server:   api.Server{Name: s.Name, Region: s.Region, Version: Version, SignalALPN: signal.ALPN, STUN: stun, TURN: turn, Open: s.Open},
		Ready:    []httpapi.Check{{Name: "lease", Check: func(context.Context) error { return p.cluster.Ready() }}, {Name: "instance", Check: h.ready}},
		Logger:   s.Logger.With("part", "rest"),
	})
	if err != nil {
		return nil, err
	}
	var base context.Context
	base, h.requests = context.WithCancel(context.Background())
	h.server = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(s.Logger.With("part", "https").Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{cert},
			MinVersion:   tls.VersionTLS13,
			NextProtos:   []string{signal.ALPN, alpnTURN, "http/1.1"},
		},
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){
			signal.ALPN: func(_ *http.Server, conn *tls.Conn, _ http.Handler) { p.hub.Serve(base, conn) },
			alpnTURN:    func(_ *http.Server, conn *tls.Conn, _ http.Handler) { p.relay.Serve(conn) },
		},
	}
	return h, nil
}

// uris are the addresses of STUN and TURN, best first.
func (s *settings) uris(port uint16) (stun, turn []string) {
	at := func(port uint16) string { return net.JoinHostPort(s.publicHost, strconv.Itoa(int(port))) }
	stun = []string{"stun:" + at(port), "stun:" + at(port+1)}
	turn = []string{
		"turn:" + at(port) + "?transport=udp",
		"turn:" + at(port) + "?transport=tcp",
		"turns:" + net.JoinHostPort(s.publicHost, s.publicPort) + "?transport=tcp",
	}
	return stun, turn
}

// serve answers until ctx ends.
func (h *https) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { h.server.Close() })
	defer stop()
	if err := h.server.ServeTLS(h.listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTPS: %w", err)
	}
	<-ctx.Done()
	return nil
}

// refuse makes the instance not ready, so that a load balancer sends nobody
// here any more.
func (h *https) refuse() { h.draining.Store(true) }

func (h *https) ready(context.Context) error {
	if h.draining.Load() {
		return errDraining
	}
	return nil
}

// shutdown finishes the requests.
func (h *https) shutdown(ctx context.Context) error {
	h.requests()
	return h.server.Shutdown(ctx)
}
