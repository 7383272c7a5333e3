package path

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/pion/stun"

	"github.com/easyfind-usb/easyfind/proto/call"
)

// Server is a STUN or TURN server.
type Server struct {
	URL      string // "stun:host:port", "turn:host:port?transport=udp" or tcp, "turns:host:port?transport=tcp"
	Username string // of TURN
	Password string // of TURN
}

// maxServers bounds the servers that are used in one Attempt.
const maxServers = 16

// ErrServer is the error of a server that cannot be used.
var ErrServer = errors.New("STUN or TURN server cannot be used")

// parse reads the URL (RFC 7064, RFC 7065).
func (s Server) parse() (*stun.URI, error) {
	u, err := stun.ParseURI(s.URL)
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrServer, s.URL, err)
	}
	switch {
	case u.Scheme == stun.SchemeTypeSTUNS:
		return nil, fmt.Errorf("%w: %q: STUN is asked over UDP without TLS: write stun: instead", ErrServer, s.URL)
	case u.Scheme == stun.SchemeTypeTURNS && u.Proto != stun.ProtoTypeTCP:
		// There is none in this program: see nodtls.
		return nil, fmt.Errorf("%w: %q: TURN over DTLS is not offered: write ?transport=tcp", ErrServer, s.URL)
	case u.Scheme != stun.SchemeTypeSTUN && (s.Username == "" || s.Password == ""):
		return nil, fmt.Errorf("%w: %q: user name or password is missing", ErrServer, s.URL)
	}
	u.Username, u.Password = s.Username, s.Password
	return u, nil
}

// via says how a TURN server is reached.
func via(u *stun.URI) call.Via {
	switch {
	case u.Scheme == stun.SchemeTypeTURNS:
		return call.ViaTLS
	case u.Proto == stun.ProtoTypeTCP:
		return call.ViaTCP
	}
	return call.ViaUDP
}

// relayURIs chooses the servers at which to allocate. Where UDP is known to
// work, allocations over TCP would only cost the server: they are never better.
func relayURIs(servers []Server, own call.NAT) ([]*stun.URI, error) {
	var uris []*stun.URI
	overUDP := false
	for _, s := range servers[:min(len(servers), maxServers)] {
		u, err := s.parse()
		if err != nil {
			return nil, err
		}
		if u.Scheme != stun.SchemeTypeSTUN {
			uris = append(uris, u)
			overUDP = overUDP || via(u) == call.ViaUDP
		}
	}
	if overUDP && own.Public.IsValid() {
		uris = slices.DeleteFunc(uris, func(u *stun.URI) bool { return via(u) != call.ViaUDP })
	}
	return uris, nil
}

// stunAddrs resolves the servers that answer STUN over UDP, which includes
// TURN servers on UDP; at most limit different ones, "stun:" first.
func (p *Paths) stunAddrs(ctx context.Context, servers []Server, limit int) ([]netip.AddrPort, error) {
	var plain, turn []*stun.URI
	for _, s := range servers[:min(len(servers), maxServers)] {
		u, err := s.parse()
		switch {
		case err != nil:
			return nil, err
		case u.Scheme == stun.SchemeTypeSTUN:
			plain = append(plain, u)
		case via(u) == call.ViaUDP:
			turn = append(turn, u)
		}
	}
	var addrs []netip.AddrPort
	for _, u := range append(plain, turn...) {
		a, err := resolve(ctx, u.Host, u.Port)
		if err != nil {
			p.log.Debug("STUN server not found", "server", u.Host, "error", err)
			continue
		}
		if !slices.Contains(addrs, a) && len(addrs) < limit {
			addrs = append(addrs, a)
		}
	}
	return addrs, nil
}

// resolve finds the IPv4 address of a server: IPv6 needs no STUN, and TURN
// allocations are IPv4.
func resolve(ctx context.Context, host string, port int) (netip.AddrPort, error) {
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("find server %s: %w", net.JoinHostPort(host, strconv.Itoa(port)), err)
	}
	return netip.AddrPortFrom(ips[0].Unmap(), uint16(port)), nil
}
