package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// Bounds of the checks.
const (
	reachTimeout  = 5 * time.Second  // for a connection and its first answer
	relayTimeout  = 10 * time.Second // for an allocation and a packet through it
	maxClockSkew  = 30 * time.Second // beyond it the server refuses proofs of keys
	expiryWarning = 14 * 24 * time.Hour
	maxAnswer     = 64 << 10 // bytes
)

// Target is a rendezvous to check.
type Target struct {
	Link api.JoinLink // its address and, if self-signed, the pin of its certificate
	// Credentials returns fresh credentials for the relay. It may be nil.
	Credentials func(context.Context) (api.RelayCredentials, error)
	// Inside means that the checks run on the server's own machine, which cannot
	// see everything as a peer sees it.
	Inside bool
}

// Outside checks what a peer needs: HTTPS, the certificate, the clock, signalling,
// STUN and TURN.
func Outside(ctx context.Context, t Target) []Finding {
	found := t.dial(ctx)
	server, more := t.describe(ctx)
	found = append(found, more...)
	if server == nil {
		return append(found, Note("signalling, STUN, TURN", "", "not checked: the server does not answer"))
	}
	return append(found, parallel(ctx,
		t.signalling,
		func(ctx context.Context) []Finding { return stuns(ctx, server.STUN) },
		func(ctx context.Context) []Finding { return t.turns(ctx, server.TURN) },
		t.ipv6,
	)...)
}

// config returns the TLS configuration of a peer.
func (t Target) config(protocols ...string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS13}
	if t.Link.Pin != nil {
		c = ident.PinnedTLS(*t.Link.Pin)
	}
	c.NextProtos = protocols
	c.ServerName, _, _ = net.SplitHostPort(t.Link.Host)
	return c
}

// dial checks the connection and the certificate.
func (t Target) dial(ctx context.Context) []Finding {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", t.Link.Host)
	if err != nil {
		do := "start the server, open the port in the firewall and forward it at the router; or correct public-url"
		return []Finding{Bad("address", do, "%s cannot be reached: %v", t.Link.Host, err)}
	}
	defer conn.Close()
	found := []Finding{Good("address", "%s answers at %s", t.Link.Host, conn.RemoteAddr())}
	secure := tls.Client(conn, t.config("http/1.1"))
	if err := secure.HandshakeContext(ctx); err != nil {
		return append(found, t.untrusted(err))
	}
	return append(found, t.certificate(secure.ConnectionState()))
}

// untrusted explains a handshake that failed.
func (t Target) untrusted(err error) Finding {
	const check = "certificate"
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.Is(err, ident.ErrUntrusted):
		return Bad(check, "give agents the current join link (easyfind-rendezvous join-link), or restore the server's "+
			"tls-key.pem; if neither has changed, somebody may intercept the connection",
			"it is not the one that the join link pins")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return Bad(check, "renew it; with --acme the server does so itself: see its log", "it expired at %s",
			invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
	case errors.As(err, &name):
		return Bad(check, "use a certificate for this name, or correct public-url", "it is for another name: %v", name)
	case errors.As(err, &authority):
		return Bad(check,
			"use the join link, which has the pin of a self-signed certificate; or serve the whole chain "+
				"(fullchain.pem)",
			"no known authority has issued it")
	}
	return Bad("TLS", "check that the rendezvous listens there, and that proxies in between pass TLS through",
		"the handshake fails: %v", err)
}

// certificate checks the date of a certificate that was verified.
func (t Target) certificate(s tls.ConnectionState) Finding {
	leaf := s.PeerCertificates[0]
	left := time.Until(leaf.NotAfter)
	how := "trusted by its chain"
	if t.Link.Pin != nil {
		how = "the one that the join link pins"
	}
	expires := leaf.NotAfter.UTC().Format(time.DateOnly)
	if left < expiryWarning && t.Link.Pin == nil {
		return Bad("certificate", "renew it; with --acme the server does so itself: see its log",
			"it expires on %s, in %d days", expires, int(left.Hours()/24))
	}
	return Good("certificate", "%s, valid until %s", how, expires)
}

// describe requests the server's description, and checks its clock.
func (t Target) describe(ctx context.Context) (*api.Server, []Finding) {
	const check = "HTTPS"
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	client := &http.Client{
		Transport: &http.Transport{TLSClientConfig: t.config("http/1.1"), DisableKeepAlives: true},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+t.Link.Host+api.PathServer, nil)
	if err != nil {
		return nil, []Finding{Bad(check, "correct the address", "%v", err)}
	}
	began := time.Now()
	res, err := client.Do(req)
	if err != nil {
		return nil, []Finding{Bad(check, "see the lines above", "no answer: %v", plain(err))}
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	took := time.Since(began)
	var server api.Server
	if err != nil || res.StatusCode != http.StatusOK || json.Unmarshal(raw, &server) != nil || server.SignalALPN == "" {
		return nil, []Finding{Bad(check, "check that a rendezvous runs there", "GET %s: %s", api.PathServer,
			res.Status)}
	}
	found := []Finding{Good(check, "%s %s answers in %d ms", server.Name, server.Version, took.Milliseconds())}
	if date, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		found = append(found, clock("clock", "the server's", time.Since(date.Add(500*time.Millisecond))-took/2))
	}
	return &server, found
}

// clock checks by how much this machine's clock is ahead of another.
func clock(check, whose string, ahead time.Duration) Finding {
	if ahead.Abs() > maxClockSkew {
		return Bad(check, "synchronize both clocks with NTP: registration and signalling refuse proofs that are "+
			"too old",
			"this machine's clock differs from %s by %s", whose, ahead.Abs().Round(time.Second))
	}
	return Good(check, "it agrees with %s to about a second", whose)
}

// signalling checks the connection that an agent keeps.
func (t Target) signalling(ctx context.Context) []Finding {
	const check = "signalling"
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	conn, err := (&tls.Dialer{Config: t.config(signal.ALPN, "http/1.1")}).DialContext(ctx, "tcp", t.Link.Host)
	if err != nil {
		return []Finding{Bad(check, "check that proxies in front of the server pass TLS through", "no connection: %v",
			plain(err))}
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	if conn.(*tls.Conn).ConnectionState().NegotiatedProtocol != signal.ALPN {
		return []Finding{t.webSocket(conn)}
	}
	m, err := signal.NewReader(conn).FromRendezvous()
	challenge, is := m.(signal.Challenge)
	if err != nil || !is {
		return []Finding{Bad(check, "see the server's log", "%s is negotiated, but no challenge arrives: %v",
			signal.ALPN, err)}
	}
	if ahead := time.Since(challenge.Time); ahead.Abs() > maxClockSkew {
		return []Finding{clock(check, "the server's", ahead)}
	}
	return []Finding{Good(check, "it answers, by ALPN %s", signal.ALPN)}
}

// webSocket checks signalling through a proxy that terminates TLS.
func (t Target) webSocket(conn net.Conn) Finding {
	const check = "signalling"
	protocols := strings.Join([]string{signal.SubprotocolTLS, signal.SubprotocolOrigin}, ", ")
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"+
		"Sec-WebSocket-Protocol: %s\r\n\r\n", api.PathSignal, t.Link.Host, protocols)
	first := []byte("HTTP/1.1 101")
	if err == nil {
		_, err = io.ReadFull(conn, first) // overwritten
	}
	if err != nil || string(first) != "HTTP/1.1 101" {
		return Bad(check, "configure the reverse proxy to pass WebSockets through, or better, TLS itself",
			"a proxy terminates TLS, and no WebSocket can be opened: %q", first)
	}
	return Good(check, "it answers in a WebSocket: a proxy terminates TLS")
}

// ipv6 checks whether peers without IPv4 can connect.
func (t Target) ipv6(ctx context.Context) []Finding {
	const check = "IPv6"
	host, port, _ := net.SplitHostPort(t.Link.Host)
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip6", host)
	if a, errAddr := netip.ParseAddr(host); errAddr == nil {
		if ips, err = nil, nil; a.Is6() {
			ips = []netip.Addr{a}
		}
	}
	if err != nil || len(ips) == 0 {
		return []Finding{Note(check, "", "the server has no IPv6 address: networks without IPv4 cannot reach it")}
	}
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp6", net.JoinHostPort(ips[0].String(), port))
	if err != nil {
		return []Finding{Note(check, "if this machine has IPv6: open the port for IPv6, or remove the AAAA record",
			"%s cannot be reached: %v", ips[0], plain(err))}
	}
	conn.Close()
	return []Finding{Good(check, "the server answers at %s", ips[0])}
}

// plain returns the cause of a network error, without the operation and address.
func plain(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
