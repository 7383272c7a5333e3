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
	dialTimeout    = 10 * time.Second // for a signalling connection, from TCP to the Welcome
	alpnHTTP       = "http/1.1"
	maxInterrupted = 3       // interrupted handshakes before only HTTP is offered
	maxRefusal     = 4 << 10 // bytes that are read of a response to a refused WebSocket
)

// Via is the transport of the signalling connection.
type Via string

// The transports.
const (
	ViaTLS       Via = "tls"       // signalling frames directly over TLS, negotiated by ALPN
	ViaWebSocket Via = "websocket" // a WebSocket; TLS ends at the rendezvous
	ViaProxy     Via = "proxy"     // a WebSocket through a reverse proxy that ends TLS
)

// wire carries the frames of a connection.
type wire interface {
	io.ReadWriter
	SetWriteDeadline(t time.Time) error
	// abort closes the connection at once and ends reads and writes that wait.
	abort()
}

type tlsWire struct{ *tls.Conn }

func (w tlsWire) abort() { w.NetConn().Close() }

type webSocketWire struct {
	net.Conn
	socket *websocket.Conn
}

func (w webSocketWire) abort() { w.socket.CloseNow() }

// dialer opens signalling connections. It offers two protocols by ALPN. The
// rendezvous selects its signalling protocol. A reverse proxy that ends TLS
// selects HTTP; then the dialer opens a WebSocket. Some middleboxes interrupt
// handshakes with an unknown protocol: after maxInterrupted interruptions the dialer
// offers only HTTP, until that fails too.
type dialer struct {
	// Constant.
	host string
	tls  *tls.Config
	tcp  func(ctx context.Context, network, address string) (net.Conn, error)

	// Owned by the goroutine that calls dial.
	interrupted int // interrupted handshakes in a row
	httpOnly    bool
}

// dial opens a connection and authenticates with the key.
func (d *dialer) dial(ctx context.Context, key ident.Key) (*connection, Via, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := d.handshake(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("connect to the rendezvous at %s: %w", d.host, err)
	}
	w, binding, via, err := d.negotiate(ctx, conn)
	if err != nil {
		conn.Close()
		d.httpOnly = false
		return nil, "", err
	}
	c, err := greet(ctx, w, binding, key)
	if err != nil {
		d.httpOnly = false
	}
	return c, via, err
}

// open opens a TLS connection and offers the protocols by ALPN.
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

// handshake opens a TLS connection for signalling and decides which protocols
// the next one offers.
func (d *dialer) handshake(ctx context.Context) (*tls.Conn, error) {
	protocols := []string{signal.ALPN, alpnHTTP}
	if d.httpOnly {
		protocols = protocols[1:]
	}
	conn, err := d.open(ctx, protocols...)
	switch {
	case err == nil:
		d.interrupted = 0
		return conn, nil
	case d.httpOnly:
		d.httpOnly, d.interrupted = false, 0
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		d.interrupted++
		d.httpOnly = d.interrupted >= maxInterrupted
	default:
		d.interrupted = 0
	}
	return nil, err
}

// negotiate starts signalling over the protocol that was selected by ALPN.
func (d *dialer) negotiate(ctx context.Context, conn *tls.Conn) (wire, signal.Binding, Via, error) {
	if conn.ConnectionState().NegotiatedProtocol == signal.ALPN {
		binding, err := signal.BoundToTLS(conn.ConnectionState())
		return tlsWire{conn}, binding, ViaTLS, err
	}
	socket, answer, err := websocket.Dial(ctx, "https://"+d.host+api.PathSignal, &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: oneConnection(conn)},
		Subprotocols: []string{signal.SubprotocolTLS, signal.SubprotocolOrigin},
	})
	if err != nil {
		return nil, signal.Binding{}, "", refusal(answer, err)
	}
	w := webSocketWire{websocket.NetConn(context.Background(), socket, websocket.MessageBinary), socket}
	socket.SetReadLimit(signal.MaxMessage) // NetConn removes the limit
	switch socket.Subprotocol() {
	case signal.SubprotocolTLS:
		binding, err := signal.BoundToTLS(conn.ConnectionState())
		return w, binding, ViaWebSocket, err
	case signal.SubprotocolOrigin:
		return w, signal.BoundToOrigin(ident.OriginOf(d.host)), ViaProxy, nil
	}
	return nil, signal.Binding{}, "", fmt.Errorf("%w: the server at %s%s is not a rendezvous",
		ErrUnavailable, d.host, api.PathSignal)
}

// refusedError is a response that refuses a WebSocket.
type refusedError struct {
	text       string
	retryAfter time.Duration // value of Retry-After, or 0
}

func (e *refusedError) Error() string { return e.text }

// refusal returns the error for a WebSocket that could not be opened because of
// err. response is nil if there was none.
func refusal(response *http.Response, err error) error {
	if response == nil {
		return fmt.Errorf("%w: no response to the request for a WebSocket: %w", ErrUnavailable, err)
	}
	line := ""
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxRefusal))
	if err == nil && response.StatusCode != http.StatusNotFound {
		line, _, _ = strings.Cut(strings.TrimSpace(string(raw)), "\n")
		if !printable(line) {
			line = ""
		}
	}
	text := fmt.Sprintf("the server does not speak %s, and answers %s at %s",
		signal.ALPN, response.Status, api.PathSignal)
	if response.StatusCode == http.StatusNotFound || response.StatusCode == http.StatusOK {
		text += ": is it a rendezvous, and does the reverse proxy in front of it forward WebSockets?"
	} else if line != "" {
		text += ": " + line
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, &refusedError{text, retryAfter(response.Header)})
}

// printable reports whether the text of a server may be shown to people: one
// short line that is not HTML.
func printable(s string) bool {
	unprintable := func(r rune) bool { return !strconv.IsPrint(r) }
	return len(s) <= signal.MaxText && !strings.ContainsFunc(s, unprintable) && !strings.HasPrefix(s, "<")
}

// retryAfter returns the value of a Retry-After header in seconds, at most
// signal.MaxPause, or 0 if there is no valid one.
func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(min(seconds, int(signal.MaxPause/time.Second))) * time.Second
}

// retryAfterOf returns the delay that the rendezvous demands before the next
// attempt, or 0.
func retryAfterOf(err error) time.Duration {
	var p *api.Problem
	var r *refusedError
	switch {
	case errors.As(err, &p):
		return p.RetryAfter
	case errors.As(err, &r):
		return r.retryAfter
	}
	return 0
}
