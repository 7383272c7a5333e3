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
	resendInterval = 200 * time.Millisecond
	maxURIs        = 8 // of each kind that are checked
)

// endpoint is the target of a STUN or TURN URI (RFC 7064, RFC 7065).
type endpoint struct {
	scheme, address, transport string
}

func parse(uri string) (endpoint, error) {
	scheme, rest, _ := strings.Cut(uri, ":")
	address, query, _ := strings.Cut(rest, "?transport=")
	p := endpoint{scheme: scheme, address: address, transport: query}
	if p.transport == "" {
		p.transport = "udp"
	}
	_, _, err := net.SplitHostPort(address)
	if err != nil || !slices.Contains([]string{"stun", "turn", "turns"}, scheme) {
		return p, fmt.Errorf("%.100q is not an address of STUN or TURN", uri)
	}
	return p, nil
}

// name returns the name of the check, such as TURN/UDP.
func (p endpoint) name() string {
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

// port returns the port that must be open.
func (p endpoint) port() string {
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

// connect returns a client. config is for TLS.
func (p endpoint) connect(ctx context.Context, config *tls.Config, username, password string) (client, error) {
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
		STUNServerAddr: p.address, TURNServerAddr: p.address, Conn: conn, Username: username, Password: password,
		LoggerFactory: quiet,
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

// stuns checks the STUN servers, each over UDP and the first one also over TCP.
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
	return parallel(ctx, checks...)
}

// binding requests this machine's address from a STUN server.
func (p endpoint) binding(ctx context.Context) []Finding {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	do := p.openPort()
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

// turns checks the relay at each TURN address.
func (t Target) turns(ctx context.Context, uris []string) []Finding {
	if len(uris) == 0 {
		return []Finding{Note("TURN", "", "the server has no relay: peers without a direct path cannot connect")}
	}
	if t.Credentials == nil {
		return []Finding{Note("TURN", "run easyfind doctor on an agent that is registered here",
			"not checked: there are no credentials for it")}
	}
	credentials, err := t.Credentials(ctx)
	if err != nil {
		return []Finding{Bad("TURN", "see the server's log", "the server issues no credentials: %v", err)}
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
		checks = append(checks, func(ctx context.Context) []Finding {
			return []Finding{t.relayed(ctx, p, credentials)}
		})
	}
	return parallel(ctx, checks...)
}

// relayed allocates two relayed addresses, as two peers do that have no other path,
// and sends a packet from one to the other.
func (t Target) relayed(ctx context.Context, p endpoint, by api.RelayCredentials) Finding {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	var ends [2]net.PacketConn
	for i := range ends {
		c, err := p.connect(ctx, t.config(), by.Username, by.Password)
		if err != nil {
			return Bad(p.name(), p.openPort(), "%s: %v", p.address, err)
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
	err := sendAcross(ctx, ends)
	switch at := ends[0].LocalAddr().String(); {
	case err == nil:
		took := time.Since(began).Milliseconds()
		return Good(p.name(), "a packet went through %s and the relay's ports in %d ms", at, took)
	case t.Inside:
		return Note(p.name(),
			"run easyfind doctor on an agent in another network: only that shows whether the relay's ports are open",
			"the relay allocates an address (%s), but no packet comes through it; "+
				"from this machine, the router may be the reason", at)
	default:
		return Bad(p.name(),
			"open the relay's UDP ports (relay-ports; 49152-65535 by default), and set relay-ip to their public "+
				"address",
			"the relay allocates an address (%s), but no packet comes through it", at)
	}
}

// openPort returns the advice to open the port.
func (p endpoint) openPort() string {
	return fmt.Sprintf("open %s in the firewall of the server, and forward it at its router", p.port())
}

// refused explains an allocation that failed.
func (p endpoint) refused(err error) Finding {
	text := err.Error()
	if strings.Contains(text, "timed out") || strings.Contains(text, "all retransmissions failed") ||
		errors.Is(err, net.ErrClosed) {
		return Bad(p.name(), p.openPort(), "%s does not answer", p.address)
	}
	return Bad(p.name(), "see the server's log: a limit of this peer or address, or no free port (relay-ports)",
		"%s gives no relayed address: %v", p.address, err)
}

// sendAcross sends packets from the first end until the second receives one.
func sendAcross(ctx context.Context, ends [2]net.PacketConn) error {
	const text = "easyfind doctor"
	deadline, _ := ctx.Deadline()
	resend := time.NewTicker(resendInterval)
	defer resend.Stop()
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
	// A packet of the second end makes its relay accept packets of the first.
	var err error
	for ctx.Err() == nil {
		_, errBack := ends[1].WriteTo([]byte("hello"), ends[0].LocalAddr())
		_, errThere := ends[0].WriteTo([]byte(text), ends[1].LocalAddr())
		err = errors.Join(errBack, errThere)
		select {
		case <-ctx.Done():
		case arrived := <-got:
			return arrived
		case <-resend.C:
		}
	}
	ends[1].Close()
	<-got
	return errors.Join(ctx.Err(), err)
}
