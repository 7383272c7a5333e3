package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v2"

	"github.com/easyfind-usb/easyfind/proto/api"
)

const (
	askAgain = 200 * time.Millisecond
	maxURIs  = 8 // of each kind that are checked
)

// place is where a STUN or TURN URI (RFC 7064, RFC 7065) leads.
type place struct {
	scheme, address, transport string
}

func parse(uri string) (place, error) {
	scheme, rest, _ := strings.Cut(uri, ":")
	address, query, _ := strings.Cut(rest, "?transport=")
	p := place{scheme: scheme, address: address, transport: query}
	if p.transport == "" {
		p.transport = "udp"
	}
	if _, _, err := net.SplitHostPort(address); err != nil || !slices.Contains([]string{"stun", "turn", "turns"}, scheme) {
		return p, fmt.Errorf("%.100q is no address of STUN or TURN", uri)
	}
	return p, nil
}

// name is the check's: TURN over what.
func (p place) name() string {
	switch {
	case p.scheme == "turns":
		return "TURN/TLS"
	case p.scheme == "turn" && p.transport == "tcp":
		return "TURN/TCP"
	case p.scheme == "turn":
		return "TURN/UDP"
	case p.transport == "tcp":
		return "STUN/TCP"
	}
	return "STUN/UDP"
}

// port is which must be open for it.
func (p place) port() string {
	_, port, _ := net.SplitHostPort(p.address)
	if p.transport == "udp" {
		return port + "/udp"
	}
	return port + "/tcp"
}

// client is a STUN and TURN client over a socket of its own.
type client struct {
	*turn.Client
	conn net.PacketConn
}

func (c client) close() {
	c.Client.Close()
	c.conn.Close()
}

// connect makes a client. config is for TLS.
func (p place) connect(ctx context.Context, config *tls.Config, username, password string) (client, error) {
	var conn net.PacketConn
	var stream net.Conn
	var err error
	switch {
	case p.scheme == "turns":
		config.NextProtos = []string{"stun.turn"} // RFC 7443
		stream, err = (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", p.address)
	case p.transport == "tcp":
		stream, err = (&net.Dialer{}).DialContext(ctx, "tcp", p.address)
	default:
		conn, err = (&net.ListenConfig{}).ListenPacket(ctx, "udp4", ":0")
	}
	if err != nil {
		return client{}, plain(err)
	}
	if stream != nil {
		conn = turn.NewSTUNConn(stream)
	}
	quiet := logging.NewDefaultLoggerFactory()
	quiet.DefaultLogLevel = logging.LogLevelDisabled
	c, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: p.address, TURNServerAddr: p.address, Conn: conn, Username: username, Password: password, LoggerFactory: quiet,
	})
	if err == nil {
		err = c.Listen()
	}
	if err != nil {
		conn.Close()
		return client{}, err
	}
	return client{c, conn}, nil
}

// stuns asks the STUN servers for this machine's address, over UDP each, and the
// first over TCP too.
func stuns(ctx context.Context, uris []string) []Finding {
	if len(uris) == 0 {
		return []Finding{Bad("STUN", "see the server's settings", "the server announces no STUN")}
	}
	var checks []func(context.Context) []Finding
	for i, uri := range uris[:min(len(uris), maxURIs)] {
		p, err := parse(uri)
		if err != nil {
			return []Finding{Bad("STUN", "see the server's settings", "%v", err)}
		}
		checks = append(checks, p.binding)
		if i == 0 {
			overTCP := p
			overTCP.transport = "tcp"
			checks = append(checks, overTCP.binding)
		}
	}
	return together(ctx, checks...)
}

// binding asks one STUN server.
func (p place) binding(ctx context.Context) []Finding {
	ctx, cancel := context.WithTimeout(ctx, reachWait)
	defer cancel()
	do := fmt.Sprintf("open %s in the firewall of the server, and forward it at its router", p.port())
	c, err := p.connect(ctx, nil, "", "")
	if err != nil {
		return []Finding{Bad(p.name(), do, "%s: %v", p.address, err)}
	}
	defer c.close()
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	seen, err := c.SendBindingRequest()
	if err != nil {
		return []Finding{Bad(p.name(), do, "%s does not answer", p.address)}
	}
	return []Finding{Good(p.name(), "%s sees this machine at %s", p.address, seen)}
}

// turns relays a packet through each TURN address.
func (t Target) turns(ctx context.Context, uris []string) []Finding {
	if len(uris) == 0 {
		return []Finding{Open("TURN", "", "the server has no relay: peers that find no direct path have none")}
	}
	if t.Credentials == nil {
		return []Finding{Open("TURN", "run easyfind doctor on an agent that is registered here", "not checked: there are no credentials for it")}
	}
	credentials, err := t.Credentials(ctx)
	if err != nil {
		return []Finding{Bad("TURN", "see the server's log", "the server gives out no credentials: %v", err)}
	}
	if len(credentials.URIs) > 0 {
		uris = credentials.URIs
	}
	var checks []func(context.Context) []Finding
	for _, uri := range uris[:min(len(uris), maxURIs)] {
		p, err := parse(uri)
		if err != nil {
			return []Finding{Bad("TURN", "see the server's settings", "%v", err)}
		}
		checks = append(checks, func(ctx context.Context) []Finding { return []Finding{t.relayed(ctx, p, credentials)} })
	}
	return together(ctx, checks...)
}

// relayed makes two relayed addresses through one way in, as two peers that both
// have no other would, and sends a packet from the one to the other.
func (t Target) relayed(ctx context.Context, p place, by api.RelayCredentials) Finding {
	ctx, cancel := context.WithTimeout(ctx, relayWait)
	defer cancel()
	var ends [2]net.PacketConn
	for i := range ends {
		c, err := p.connect(ctx, t.config(), by.Username, by.Password)
		if err != nil {
			return Bad(p.name(), fmt.Sprintf("open %s in the firewall of the server, and forward it at its router", p.port()), "%s: %v", p.address, err)
		}
		defer c.close()
		stop := context.AfterFunc(ctx, c.close)
		defer stop()
		relayed, err := c.Allocate()
		if err != nil {
			return p.refused(err)
		}
		defer relayed.Close()
		ends[i] = relayed
	}
	began := time.Now()
	err := across(ctx, ends)
	switch at := ends[0].LocalAddr().String(); {
	case err == nil:
		return Good(p.name(), "a packet went through %s and the relay's ports in %d ms", at, time.Since(began).Milliseconds())
	case t.Inside:
		return Open(p.name(), "run easyfind doctor on an agent in another network: only from there it shows whether the relay's ports are open",
			"a relayed address is given out (%s), but no packet goes from there to itself: seen from this machine, that may be the router", at)
	default:
		return Bad(p.name(), "open the relay's UDP ports (relay-ports, 49152-65535 unless set) and set relay-ip to the address by which they are reached",
			"a relayed address is given out (%s), but no packet comes through it", at)
	}
}

func (p place) refused(err error) Finding {
	if text := err.Error(); strings.Contains(text, "timed out") || strings.Contains(text, "all retransmissions failed") || errors.Is(err, net.ErrClosed) {
		return Bad(p.name(), fmt.Sprintf("open %s in the firewall of the server, and forward it at its router", p.port()), "%s does not answer", p.address)
	}
	return Bad(p.name(), "see the server's log: a limit of this peer or address, or no free port (relay-ports)", "%s gives no relayed address: %v", p.address, err)
}

// across sends from the first end until the second has got it.
func across(ctx context.Context, ends [2]net.PacketConn) error {
	const text = "easyfind doctor"
	deadline, _ := ctx.Deadline()
	again := time.NewTicker(askAgain)
	defer again.Stop()
	got := make(chan error, 1)
	go func() {
		buf := make([]byte, 2048)
		ends[1].SetReadDeadline(deadline)
		for {
			n, _, err := ends[1].ReadFrom(buf)
			if err != nil || string(buf[:n]) == text {
				got <- err
				return
			}
		}
	}()
	// The second end lets packets of the first in by sending one itself.
	var err error
	for ctx.Err() == nil {
		_, errBack := ends[1].WriteTo([]byte("hello"), ends[0].LocalAddr())
		_, errThere := ends[0].WriteTo([]byte(text), ends[1].LocalAddr())
		err = errors.Join(errBack, errThere)
		select {
		case <-ctx.Done():
		case arrived := <-got:
			return arrived
		case <-again.C:
		}
	}
	ends[1].Close()
	<-got
	return errors.Join(ctx.Err(), err)
}
