package relay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strconv"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/datagrams"
)

// socketBuffer is the size of the kernel's buffers of a UDP socket, in bytes, if
// the system permits as much (net.core.rmem_max): what arrives while the
// process waits for a processor.
const socketBuffer = 4 << 20

// maxShare is how many sockets one port has at most, where the system can share
// a port out.
const maxShare = 8

// Sockets are where clients come. Relay takes them over.
type Sockets struct {
	// main are of the first port. The system shares clients out among them, and
	// does so in the same way for as long as all of them are open.
	main   []*net.UDPConn
	second *net.UDPConn    // one port above: an agent that asks both sees how its NAT maps
	other  [2]*net.UDPConn // the two ports at the alternate address, or nil
	TCP    net.Listener
}

// attempts to find neighbouring free ports when any will do.
const anyPortAttempts = 32

// Listen opens the sockets at host:port. With port 0 it takes any that is free.
// alternate is a second IPv4 address of this machine, for NAT behaviour
// discovery (RFC 5780), or none; with it, host is an IPv4 address too.
func Listen(address string, alternate netip.Addr) (*Sockets, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("STUN address %q: want host:port, such as :3478", address)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("STUN address %q: want a port from 0 to 65534", address)
	}
	if alternate.IsValid() {
		if first, err := netip.ParseAddr(host); err != nil || !first.Is4() || first.IsUnspecified() || first == alternate {
			return nil, fmt.Errorf("STUN address %q: with an alternate address, --stun-listen needs the first one in it, such as 203.0.113.7:3478", address)
		}
	}
	if port != 0 {
		return listen(host, uint16(port), alternate)
	}
	for range anyPortAttempts {
		probe, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
		if err != nil {
			return nil, fmt.Errorf("listen for STUN on %s: %w", address, err)
		}
		free := probe.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		probe.Close()
		if s, err := listen(host, free, alternate); err == nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("listen for STUN on %s: no two neighbouring ports are free", address)
}

func listen(host string, port uint16, alternate netip.Addr) (*Sockets, error) {
	if port == 65535 {
		return nil, errors.New("STUN port 65535 has no next one: choose a lower port")
	}
	s := &Sockets{}
	at := func(host string, port uint16) string { return net.JoinHostPort(host, strconv.Itoa(int(port))) }
	first, second := at(host, port), at(host, port+1)
	var err error
	if s.main, err = listenShared(first); err == nil {
		if s.second, err = listenUDP(second); err == nil {
			s.TCP, err = net.Listen("tcp", first)
		}
	}
	if err == nil && alternate.IsValid() {
		for i := range s.other {
			if s.other[i], err = listenUDP(at(alternate.String(), port+uint16(i))); err != nil {
				s.Close()
				return nil, fmt.Errorf("listen for STUN on the alternate address: %w; it must be an address of this machine, see --stun-alternate-ip", err)
			}
		}
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("listen for STUN and TURN (UDP and TCP on %s, UDP on %s): %w; stop what uses the port, or choose another with --stun-listen", first, second, err)
	}
	return s, nil
}

func listenUDP(address string) (*net.UDPConn, error) {
	a, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp", a)
	if err == nil {
		datagrams.SetBuffers(conn, socketBuffer)
	}
	return conn, err
}

// share is how many sockets one port has.
func share() int { return min(runtime.GOMAXPROCS(0), maxShare) }

// Port is the first port, of UDP and TCP.
func (s *Sockets) Port() uint16 { return s.Address().(*net.UDPAddr).AddrPort().Port() }

// Address is that of the first port.
func (s *Sockets) Address() net.Addr { return s.main[0].LocalAddr() }

// Close closes those that are open.
func (s *Sockets) Close() {
	for _, conn := range slices.Concat(s.main, []*net.UDPConn{s.second, s.other[0], s.other[1]}) {
		if conn != nil {
			conn.Close()
		}
	}
	if s.TCP != nil {
		s.TCP.Close()
	}
}

// discovery arranges the sockets as RFC 5780 wants them, if there are enough:
// clients reach the addresses as first and second.
func (s *Sockets) discovery(first, second netip.Addr) *discovery {
	if s.other[0] == nil {
		return nil
	}
	return &discovery{
		sockets: [2][2]*net.UDPConn{{s.main[0], s.second}, s.other},
		public:  [2]netip.Addr{first, second},
		ports:   [2]uint16{s.Port(), s.Port() + 1},
	}
}

// bindable returns the address at which sockets for ip are opened: ip itself,
// or any where a gateway translates ip to this machine.
func bindable(ip netip.Addr) netip.Addr {
	probe, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		return netip.IPv4Unspecified()
	}
	probe.Close()
	return ip
}
