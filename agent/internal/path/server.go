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
	Username string // for TURN
	Password string // for TURN
}

// maxServers bounds the servers that one attempt uses.
const maxServers = 16

// ErrServer is the error of a server that cannot be used.
var ErrServer = errors.New("STUN or TURN server cannot be used")

// parse parses the URL (RFC 7064, RFC 7065).
func (s Server) parse() (*stun.URI, error) {
	u, err := stun.ParseURI(s.URL)
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrServer, s.URL, err)
	}
	switch {
	case u.Scheme == stun.SchemeTypeSTUNS:
		return nil, fmt.Errorf("%w: %q: STUN over TLS is not supported: write stun: instead", ErrServer, s.URL)
	case u.Scheme == stun.SchemeTypeTURNS && u.Proto != stun.ProtoTypeTCP:
		// This program contains no DTLS; see package nodtls.
		return nil, fmt.Errorf("%w: %q: TURN over DTLS is not supported: write ?transport=tcp", ErrServer, s.URL)
	case u.Scheme != stun.SchemeTypeSTUN && (s.Username == "" || s.Password == ""):
		return nil, fmt.Errorf("%w: %q: user name or password is missing", ErrServer, s.URL)
	}
	u.Username, u.Password = s.Username, s.Password
	return u, nil
}

// via returns the transport to a TURN server.
func via(u *stun.URI) call.Via {
	switch {
	case u.Scheme == stun.SchemeTypeTURNS:
		return call.ViaTLS
	case u.Proto == stun.ProtoTypeTCP:
		return call.ViaTCP
	}
	return call.ViaUDP
}

// relayURIs returns the servers for allocations. If UDP is known to work, it leaves
// out TCP and TLS, because such allocations are never better.
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

// stunAddrs resolves the servers that respond to STUN over UDP, at most limit
// different ones. They include TURN servers over UDP, after the "stun:" servers.
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
			p.log.Debug("cannot resolve a STUN server", "server", u.Host, "err", err)
			continue
		}
		if !slices.Contains(addrs, a) && len(addrs) < limit {
			addrs = append(addrs, a)
		}
	}
	return addrs, nil
}

// resolve returns the IPv4 address of a server. IPv6 needs no STUN, and TURN
// allocations are IPv4.
func resolve(ctx context.Context, host string, port int) (netip.AddrPort, error) {
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("resolve server %s: %w", net.JoinHostPort(host, strconv.Itoa(port)), err)
	}
	return netip.AddrPortFrom(ips[0].Unmap(), uint16(port)), nil
}
