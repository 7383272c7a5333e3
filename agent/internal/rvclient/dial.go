package rvclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

const (
	dialTimeout = 10 * time.Second // TCP and TLS, then Challenge to Welcome
	alpnHTTP    = "http/1.1"
	maxCuts     = 3       // handshakes that were cut off before another ALPN is tried
	maxRefusal  = 4 << 10 // bytes of a refusal that are read
)

// Via is the way in which the rendezvous is spoken to.
type Via string

// The ways.
const (
	ViaTLS       Via = "tls"       // signalling inside of TLS, by ALPN
	ViaWebSocket Via = "websocket" // the same in a WebSocket; TLS ends at the rendezvous
	ViaProxy     Via = "proxy"     // in a WebSocket, through a reverse proxy that ends TLS
)

// wire is what a connection's frames travel on.
type wire interface {
	net.Conn
	// abort ends it without a word, and wakes who reads or writes.
	abort()
}

type overTLS struct{ *tls.Conn }

func (w overTLS) abort() { w.NetConn().Close() }

type overWebSocket struct {
	net.Conn
	socket *websocket.Conn
}

func (w overWebSocket) abort() { w.socket.CloseNow() }

// dialer opens signalling connections. The rendezvous's own TLS end speaks
// signalling by its ALPN protocol. Another one, a reverse proxy's, takes HTTP, which
// is offered in the same handshake, and gets a WebSocket. Where something on the
// way cuts handshakes with an unknown protocol off, only HTTP is offered, until
// that fails as well.
type dialer struct {
	// Static.
	host string
	tls  *tls.Config
	tcp  func(ctx context.Context, network, address string) (net.Conn, error)

	// Owned by who dials.
	cuts     int // handshakes cut off in a row
	httpOnly bool
}

// dial opens a connection and proves the key on it.
func (d *dialer) dial(ctx context.Context, key ident.Key) (*connection, Via, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := d.handshake(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("connect to the rendezvous at %s: %w", d.host, err)
	}
	w, bound, via, err := d.speak(ctx, conn)
	if err != nil {
		conn.Close()
		d.httpOnly = false
		return nil, "", err
	}
	c, err := greeted(ctx, w, bound, key)
	if err != nil {
		d.httpOnly = false
	}
	return c, via, err
}

// open makes a TLS connection that offers protocols.
func (d *dialer) open(ctx context.Context, protocols ...string) (*tls.Conn, error) {
	raw, err := d.tcp(ctx, "tcp", d.host)
	if err != nil {
		return nil, err
	}
	config := d.tls.Clone()
	config.NextProtos = protocols
	config.ServerName, _, _ = net.SplitHostPort(d.host)
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return conn, nil
}

// handshake opens a connection for signalling.
func (d *dialer) handshake(ctx context.Context) (*tls.Conn, error) {
	protocols := []string{signal.ALPN, alpnHTTP}
	if d.httpOnly {
		protocols = protocols[1:]
	}
	conn, err := d.open(ctx, protocols...)
	switch {
	case err == nil:
		d.cuts = 0
		return conn, nil
	case d.httpOnly:
		d.httpOnly, d.cuts = false, 0
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		d.cuts++
		d.httpOnly = d.cuts >= maxCuts
	default:
		d.cuts = 0
	}
	return nil, err
}

// speak begins signalling in the way that the other end of TLS knows.
func (d *dialer) speak(ctx context.Context, conn *tls.Conn) (wire, signal.Binding, Via, error) {
	if conn.ConnectionState().NegotiatedProtocol == signal.ALPN {
		bound, err := signal.BoundToTLS(conn.ConnectionState())
		return overTLS{conn}, bound, ViaTLS, err
	}
	socket, answer, err := websocket.Dial(ctx, "https://"+d.host+api.PathSignal, &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: oneConnection(conn)},
		Subprotocols: []string{signal.SubprotocolTLS, signal.SubprotocolOrigin},
	})
	if err != nil {
		return nil, signal.Binding{}, "", refusal(answer, err)
	}
	w := overWebSocket{websocket.NetConn(context.Background(), socket, websocket.MessageBinary), socket}
	socket.SetReadLimit(signal.MaxMessage) // NetConn has lifted it
	switch socket.Subprotocol() {
	case signal.SubprotocolTLS:
		bound, err := signal.BoundToTLS(conn.ConnectionState())
		return w, bound, ViaWebSocket, err
	case signal.SubprotocolOrigin:
		return w, signal.BoundToOrigin(ident.OriginOf(d.host)), ViaProxy, nil
	}
	return nil, signal.Binding{}, "", fmt.Errorf("%w: what answers at %s%s is no rendezvous", ErrUnavailable, d.host, api.PathSignal)
}

// refusedError is an answer to the request for a WebSocket.
type refusedError struct {
	text  string
	after time.Duration // Retry-After, 0 without
}

func (e *refusedError) Error() string { return e.text }

// refusal says why there is no WebSocket. answer is nil where none came.
func refusal(answer *http.Response, err error) error {
	if answer == nil {
		return fmt.Errorf("%w: no answer about signalling over HTTP: %w", ErrUnavailable, err)
	}
	said := ""
	if raw, err := io.ReadAll(io.LimitReader(answer.Body, maxRefusal)); err == nil && answer.StatusCode != http.StatusNotFound {
		said, _, _ = strings.Cut(strings.TrimSpace(string(raw)), "\n")
		if !printable(said) {
			said = ""
		}
	}
	text := fmt.Sprintf("the server does not speak %s, and answers %s at %s", signal.ALPN, answer.Status, api.PathSignal)
	if answer.StatusCode == http.StatusNotFound || answer.StatusCode == http.StatusOK {
		text += ": is it a rendezvous, and does a reverse proxy before it pass WebSockets on?"
	} else if said != "" {
		text += ": " + said
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, &refusedError{text, retryAfter(answer.Header)})
}

// printable reports whether a server's text may be shown: one short line.
func printable(s string) bool {
	return len(s) <= signal.MaxText && !strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) && !strings.HasPrefix(s, "<")
}

// retryAfter reads a Retry-After in seconds, 0 without one.
func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(min(seconds, int(signal.MaxPause/time.Second))) * time.Second
}

// pauseOf is how long the rendezvous has asked to be left alone, 0 if it has
// not.
func pauseOf(err error) time.Duration {
	var p *api.Problem
	var r *refusedError
	switch {
	case errors.As(err, &p):
		return p.RetryAfter
	case errors.As(err, &r):
		return r.after
	}
	return 0
}
