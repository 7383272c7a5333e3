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

// Times and bounds of the checks.
const (
	reachWait  = 5 * time.Second  // for a connection and its first answer
	relayWait  = 10 * time.Second // for an allocation and a packet through it
	clockSkew  = 30 * time.Second // more than that, and proofs of keys are refused
	expirySoon = 14 * 24 * time.Hour
	maxAnswer  = 64 << 10
)

// Target is a rendezvous to be checked.
type Target struct {
	Link api.JoinLink // its address, and the pin that its certificate must have
	// Credentials are fresh ones for the relay. Nil: there are none.
	Credentials func(context.Context) (api.RelayCredentials, error)
	// Inside says that the checks run on the server's own machine, from which
	// not everything can be seen as a peer sees it.
	Inside bool
}

// Outside checks what a peer needs of a rendezvous: HTTPS, the certificate, the
// clock, signalling, STUN and TURN.
func Outside(ctx context.Context, t Target) []Finding {
	found := t.dial(ctx)
	server, more := t.rest(ctx)
	found = append(found, more...)
	if server == nil {
		return append(found, Open("signalling, STUN, TURN", "", "not checked: the server does not answer"))
	}
	return append(found, together(ctx,
		t.signalling,
		func(ctx context.Context) []Finding { return stuns(ctx, server.STUN) },
		func(ctx context.Context) []Finding { return t.turns(ctx, server.TURN) },
		t.ipv6,
	)...)
}

// config is how TLS is checked, as a peer does.
func (t Target) config(protocols ...string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS13}
	if t.Link.Pin != nil {
		c = ident.PinnedTLS(*t.Link.Pin)
	}
	c.NextProtos = protocols
	c.ServerName, _, _ = net.SplitHostPort(t.Link.Host)
	return c
}

// dial looks at the connection and the certificate.
func (t Target) dial(ctx context.Context) []Finding {
	ctx, cancel := context.WithTimeout(ctx, reachWait)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", t.Link.Host)
	if err != nil {
		return []Finding{Bad("address", "start the server, open the port in the firewall and forward it at the router; or correct public-url", "%s cannot be reached: %v", t.Link.Host, err)}
	}
	defer conn.Close()
	found := []Finding{Good("address", "%s is reached at %s", t.Link.Host, conn.RemoteAddr())}
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
		return Bad(check, "give agents the join link that the server has now (easyfind-rendezvous join-link), or restore its tls-key.pem; if neither has changed, somebody stands between", "it is not the one that the join link pins")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return Bad(check, "renew it; with --acme the server does so itself: see its log", "it has expired at %s", invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
	case errors.As(err, &name):
		return Bad(check, "get one for this name, or correct public-url", "it is not for this name: %v", name)
	case errors.As(err, &authority):
		return Bad(check, "use the join link, which has the pin of a self-signed certificate; or serve the whole chain (fullchain.pem)", "no known authority has issued it")
	}
	return Bad("TLS", "is it the rendezvous that listens there, and does what stands before it pass TLS on?", "the handshake fails: %v", err)
}

func (t Target) certificate(s tls.ConnectionState) Finding {
	leaf := s.PeerCertificates[0]
	left := time.Until(leaf.NotAfter)
	how := "trusted by its chain"
	if t.Link.Pin != nil {
		how = "the one that the join link pins"
	}
	expires := leaf.NotAfter.UTC().Format(time.DateOnly)
	if left < expirySoon && t.Link.Pin == nil {
		return Bad("certificate", "renew it; with --acme the server does so itself: see its log", "it expires on %s, in %d days", expires, int(left.Hours()/24))
	}
	return Good("certificate", "%s, until %s", how, expires)
}

// rest asks the server what it is, and looks at its clock.
func (t Target) rest(ctx context.Context) (*api.Server, []Finding) {
	const check = "HTTPS"
	ctx, cancel := context.WithTimeout(ctx, reachWait)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: t.config("http/1.1"), DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+t.Link.Host+api.PathServer, nil)
	if err != nil {
		return nil, []Finding{Bad(check, "correct the address", "%v", err)}
	}
	asked := time.Now()
	res, err := client.Do(req)
	if err != nil {
		return nil, []Finding{Bad(check, "see the lines above", "no answer: %v", plain(err))}
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	took := time.Since(asked)
	var server api.Server
	if err != nil || res.StatusCode != http.StatusOK || json.Unmarshal(raw, &server) != nil || server.SignalALPN == "" {
		return nil, []Finding{Bad(check, "is there a rendezvous at this address, or something else?", "GET %s: %s", api.PathServer, res.Status)}
	}
	found := []Finding{Good(check, "%s %s answers in %d ms", server.Name, server.Version, took.Milliseconds())}
	if date, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		found = append(found, clock("clock", "the server's", time.Since(date.Add(500*time.Millisecond))-took/2))
	}
	return &server, found
}

// clock judges how far this machine's clock is ahead of another.
func clock(check, whose string, ahead time.Duration) Finding {
	if ahead.Abs() > clockSkew {
		return Bad(check, "set both clocks by NTP: registration and signalling refuse proofs that are too old", "this machine's is %s off %s", ahead.Abs().Round(time.Second), whose)
	}
	return Good(check, "it agrees with %s within a second or so", whose)
}

// signalling looks at the connection that an agent holds.
func (t Target) signalling(ctx context.Context) []Finding {
	const check = "signalling"
	ctx, cancel := context.WithTimeout(ctx, reachWait)
	defer cancel()
	conn, err := (&tls.Dialer{Config: t.config(signal.ALPN, "http/1.1")}).DialContext(ctx, "tcp", t.Link.Host)
	if err != nil {
		return []Finding{Bad(check, "does what stands before the server pass TLS on?", "no connection: %v", plain(err))}
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
		return []Finding{Bad(check, "see the server's log", "%s is agreed on, but no challenge comes: %v", signal.ALPN, err)}
	}
	if ahead := time.Since(challenge.Time); ahead.Abs() > clockSkew {
		return []Finding{clock(check, "the server's", ahead)}
	}
	return []Finding{Good(check, "it answers at once, by ALPN %s", signal.ALPN)}
}

// webSocket looks at signalling where TLS ends before the rendezvous.
func (t Target) webSocket(conn net.Conn) Finding {
	const check = "signalling"
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: %s\r\n\r\n", api.PathSignal, t.Link.Host, strings.Join([]string{signal.SubprotocolTLS, signal.SubprotocolOrigin}, ", "))
	first := []byte("HTTP/1.1 101")
	if err == nil {
		_, err = io.ReadFull(conn, first) // overwritten
	}
	if err != nil || string(first) != "HTTP/1.1 101" {
		return Bad(check, "have the reverse proxy pass WebSockets on, or better, TLS itself", "TLS ends before the rendezvous, and no WebSocket is opened: %q", first)
	}
	return Good(check, "in a WebSocket: TLS ends before the rendezvous")
}

// ipv6 says whether peers without IPv4 get there.
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
		return []Finding{Open(check, "", "the server has no IPv6 address: networks without IPv4 do not reach it")}
	}
	ctx, cancel := context.WithTimeout(ctx, reachWait)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp6", net.JoinHostPort(ips[0].String(), port))
	if err != nil {
		return []Finding{Open(check, "if this machine has IPv6: open the port for it, or take the AAAA record out", "%s is not reached: %v", ips[0], plain(err))}
	}
	conn.Close()
	return []Finding{Good(check, "reached at %s", ips[0])}
}

// plain is an error without the operation that it repeats.
func plain(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
