package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/easyfind-usb/easyfind/proto/signal"
)

var (
	errUntrustedHeader = errors.New("a PROXY protocol header came from outside of the networks of --proxy-protocol: " +
		"if that is your load balancer, add its network to them")
	errNoProxy = errors.New("HTTP without TLS is for the networks of --trusted-proxies: " +
		"if this is your reverse proxy, add its network to them")
)

// httpAnswer answers a client that speaks HTTP where TLS is expected.
const httpAnswer = "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n" +
	"This port speaks HTTPS: ask again with https://\n"

// servePublic completes the TLS handshake and hands the connection to the service of its protocol.
func (l *Listener) servePublic(ctx context.Context, c *conn) error {
	conn := tls.Server(c, l.tls)
	if err := conn.Handshake(); err != nil {
		return l.answerNonTLS(c, err)
	}
	switch conn.ConnectionState().NegotiatedProtocol {
	case signal.ALPN:
		l.identified(c)
		l.cfg.Signal(ctx, conn)
	case alpnTURN:
		l.identified(c)
		l.running.Go(func() { l.cfg.Relay(conn) })
	case alpnHTTP:
		l.serveHTTP(c, conn)
	case "":
		return l.serveByFirstByte(c, conn)
	default: // a protocol that consists of the handshake alone, such as acme-tls/1
		conn.Close()
	}
	return nil
}

// serveByFirstByte serves a client that offered no protocol in the handshake. Every STUN message begins with two zero
// bits (RFC 8489 section 5), and HTTP with a letter.
func (l *Listener) serveByFirstByte(c *conn, conn *tls.Conn) error {
	first := make([]byte, 1)
	if _, err := io.ReadFull(conn, first); err != nil {
		return fmt.Errorf("read the first byte: %w", err)
	}
	peeked := &peekedTLS{Conn: conn, early: first}
	if first[0]&0xc0 == 0 {
		l.identified(c)
		l.running.Go(func() { l.cfg.Relay(peeked) })
		return nil
	}
	l.serveHTTP(c, peeked)
	return nil
}

// serveTURN hands on a connection to the port of STUN and TURN over TCP.
func (l *Listener) serveTURN(_ context.Context, c *conn) error {
	if err := l.refuseHeader(c); err != nil {
		return err
	}
	l.identified(c)
	l.turn.put(c)
	return nil
}

// servePlain hands on a connection of a reverse proxy.
func (l *Listener) servePlain(_ context.Context, c *conn) error {
	a, err := addressOf(c.remote)
	if err != nil {
		return err
	}
	if !within(l.cfg.Proxies, a) {
		l.log.Warn("refused a connection", "remote_addr", c.remote, "err", errNoProxy)
		c.Close()
		return nil
	}
	l.identified(c)
	c.writeTimeout = writeTimeout
	l.http.put(c)
	return nil
}

func (l *Listener) serveHTTP(c *conn, conn net.Conn) {
	l.identified(c)
	c.writeTimeout = writeTimeout
	l.https.put(conn)
}

// identified ends the time in which a connection must show which protocol it speaks.
func (l *Listener) identified(c *conn) {
	c.SetDeadline(time.Time{})
	l.admission.identified(c)
}

// refuseHeader returns an error if a connection begins with a PROXY header that it has no right to send.
func (l *Listener) refuseHeader(c *conn) error {
	if len(c.early) == 0 {
		first := make([]byte, headerBuffer)
		n, err := c.Conn.Read(first)
		if err != nil {
			return fmt.Errorf("read the first bytes: %w", err)
		}
		c.early = first[:n]
	}
	if isHeader(c.early) {
		l.log.Warn("refused a connection", "remote_addr", c.remote, "err", errUntrustedHeader)
		return errUntrustedHeader
	}
	return nil
}

// answerNonTLS answers and logs a connection that began with something other than TLS. It returns the reason.
func (l *Listener) answerNonTLS(c *conn, err error) error {
	var other tls.RecordHeaderError
	if !errors.As(err, &other) || other.Conn == nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	if isHeader(other.RecordHeader[:]) {
		l.log.Warn("refused a connection", "remote_addr", c.remote, "err", errUntrustedHeader)
		return errUntrustedHeader
	}
	switch string(other.RecordHeader[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		io.WriteString(c, httpAnswer)
	}
	return fmt.Errorf("TLS handshake: %w", err)
}

type connKey struct{}

// ConnContext is the http.Server.ConnContext of the server that serves HTTPS. It lets WithTLS find a TLS connection
// that net/http does not recognize as one.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if peeked, ok := c.(*peekedTLS); ok {
		return context.WithValue(ctx, connKey{}, peeked)
	}
	return ctx
}

// WithTLS sets the TLS state of a request where net/http could not.
func WithTLS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if peeked, ok := r.Context().Value(connKey{}).(*peekedTLS); ok && r.TLS == nil {
			state := peeked.ConnectionState()
			r.TLS = &state
		}
		next.ServeHTTP(w, r)
	})
}
