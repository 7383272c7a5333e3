package front

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
	errClaim = errors.New("a PROXY protocol header came from outside of the networks of --proxy-protocol: if that is your load balancer, put its network there")
	errPlain = errors.New("HTTP without TLS is for the networks of --trusted-proxies: if this is your reverse proxy, put its network there")
)

// plainAnswer is for who speaks HTTP where TLS is wanted.
const plainAnswer = "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\nThis port speaks HTTPS: ask again with https://\n"

// servePublic ends TLS and hands the connection to whom its protocol says.
func (f *Front) servePublic(ctx context.Context, c *conn) error {
	conn := tls.Server(c, f.tls)
	if err := conn.Handshake(); err != nil {
		return f.explain(c, err)
	}
	switch conn.ConnectionState().NegotiatedProtocol {
	case signal.ALPN:
		f.ready(c)
		f.cfg.Signal(ctx, conn)
	case alpnTURN:
		f.ready(c)
		f.running.Go(func() { f.cfg.Relay(conn) })
	case alpnHTTP:
		f.serveHTTP(c, conn)
	case "":
		return f.serveUnnamed(c, conn)
	default: // one for the handshake alone, such as acme-tls/1
		conn.Close()
	}
	return nil
}

// serveUnnamed tells by the first byte what a client wants that did not say it
// in the handshake: every STUN message begins with two zero bits (RFC 8489
// section 5), HTTP with a letter.
func (f *Front) serveUnnamed(c *conn, conn *tls.Conn) error {
	first := make([]byte, 1)
	if _, err := io.ReadFull(conn, first); err != nil {
		return fmt.Errorf("it said nothing: %w", err)
	}
	with := &unread{Conn: conn, early: first}
	if first[0]&0xc0 == 0 {
		f.ready(c)
		f.running.Go(func() { f.cfg.Relay(with) })
		return nil
	}
	f.serveHTTP(c, with)
	return nil
}

// serveTURN hands on what comes to the port of STUN and TURN over TCP.
func (f *Front) serveTURN(_ context.Context, c *conn) error {
	if err := f.noClaim(c); err != nil {
		return err
	}
	f.ready(c)
	f.turn.put(c)
	return nil
}

// servePlain hands on what reverse proxies send.
func (f *Front) servePlain(_ context.Context, c *conn) error {
	a, err := addressOf(c.remote)
	if err != nil {
		return err
	}
	if !within(f.cfg.Proxies, a) {
		f.log.warn("refused a connection", "from", c.remote, "reason", errPlain)
		c.Close()
		return nil
	}
	f.ready(c)
	c.stall = writeStall
	f.plain.put(c)
	return nil
}

func (f *Front) serveHTTP(c *conn, conn net.Conn) {
	f.ready(c)
	c.stall = writeStall
	f.http.put(conn)
}

// ready ends the time in which a connection has to say what it wants.
func (f *Front) ready(c *conn) {
	c.SetDeadline(time.Time{})
	f.limits.settle(c)
}

// noClaim refuses a PROXY header where none is believed.
func (f *Front) noClaim(c *conn) error {
	if len(c.early) == 0 {
		first := make([]byte, headerBuffer)
		n, err := c.Conn.Read(first)
		if err != nil {
			return fmt.Errorf("it said nothing: %w", err)
		}
		c.early = first[:n]
	}
	if claims(c.early) {
		f.log.warn("refused a connection", "from", c.remote, "reason", errClaim)
		return errClaim
	}
	return nil
}

// explain answers and logs what began with something else than TLS.
func (f *Front) explain(c *conn, err error) error {
	var other tls.RecordHeaderError
	if !errors.As(err, &other) || other.Conn == nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	if claims(other.RecordHeader[:]) {
		f.log.warn("refused a connection", "from", c.remote, "reason", errClaim)
		return errClaim
	}
	switch string(other.RecordHeader[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		io.WriteString(c, plainAnswer)
	}
	return fmt.Errorf("TLS handshake: %w", err)
}

type connKey struct{}

// ConnContext is for the http.Server that serves HTTPS: it lets WithTLS find the
// TLS connection where net/http does not see it.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if u, ok := c.(*unread); ok {
		return context.WithValue(ctx, connKey{}, u)
	}
	return ctx
}

// WithTLS fills in a request's TLS state where net/http could not.
func WithTLS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, ok := r.Context().Value(connKey{}).(*unread); ok && r.TLS == nil {
			state := u.ConnectionState()
			r.TLS = &state
		}
		next.ServeHTTP(w, r)
	})
}
