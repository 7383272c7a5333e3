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

// socketBuffer is the size of the kernel's buffers of a UDP socket, in bytes, if the system permits as much
// (net.core.rmem_max). They hold what arrives while the process waits for a processor.
const socketBuffer = 4 << 20

// maxShare is the maximum number of sockets that share one port.
const maxShare = 8

// Sockets holds the sockets through which clients reach a relay. The Relay closes them.
type Sockets struct {
	// main are the UDP sockets of the first port. The system distributes clients among them, and a client stays at its
	// socket as long as all of them are open.
	main   []*net.UDPConn
	second *net.UDPConn    // one port above: an agent that asks both sees how its NAT maps
	other  [2]*net.UDPConn // the two ports at the alternate address, or nil
	TCP    net.Listener
}

// anyPortAttempts is the number of attempts to find two adjacent free ports.
const anyPortAttempts = 32

// Listen opens the sockets at host:port. With port 0 it opens any free one. alternate is a second IPv4 address of this
// machine for NAT behaviour discovery (RFC 5780), or the zero Addr; with it, host must be an IPv4 address too.
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
		first, err := netip.ParseAddr(host)
		if err != nil || !first.Is4() || first.IsUnspecified() || first == alternate {
			return nil, fmt.Errorf("STUN address %q: with an alternate address, "+
				"--stun-listen needs the first one in it, such as 203.0.113.7:3478", address)
		}
	}
	if port != 0 {
		return listen(host, uint16(port), alternate)
	}
	for range anyPortAttempts {
		var s *Sockets
		if s, err = listen(host, 0, alternate); err == nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("listen for STUN on %s: %d attempts to find two adjacent free ports have failed: %w",
		address, anyPortAttempts, err)
}

func listen(host string, port uint16, alternate netip.Addr) (*Sockets, error) {
	if port == 65535 {
		return nil, errors.New("STUN port 65535 has no next one: choose a lower port")
	}
	s := &Sockets{}
	at := func(host string, port uint16) string { return net.JoinHostPort(host, strconv.Itoa(int(port))) }
	main, err := listenShared(at(host, port))
	s.main = main
	if err == nil {
		port = s.Port()
		if port == 65535 {
			s.Close()
			return nil, errors.New("port 65535 has no next one")
		}
		if s.second, err = listenUDP(at(host, port+1)); err == nil {
			s.TCP, err = net.Listen("tcp", at(host, port))
		}
	}
	if err == nil && alternate.IsValid() {
		for i := range s.other {
			if s.other[i], err = listenUDP(at(alternate.String(), port+uint16(i))); err != nil {
				s.Close()
				return nil, fmt.Errorf("listen for STUN on the alternate address: %w; "+
					"it must be an address of this machine, see --stun-alternate-ip", err)
			}
		}
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("listen for STUN and TURN (UDP and TCP on %s, UDP on %s): %w; "+
			"stop what uses the port, or choose another with --stun-listen", at(host, port), at(host, port+1), err)
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

// share returns the number of sockets that share one port.
func share() int { return min(runtime.GOMAXPROCS(0), maxShare) }

// Port returns the first port, of UDP and TCP.
func (s *Sockets) Port() uint16 { return s.Address().(*net.UDPAddr).AddrPort().Port() }

// Address returns the UDP address of the first port.
func (s *Sockets) Address() net.Addr { return s.main[0].LocalAddr() }

// Close closes the sockets that are open.
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

// discovery returns the sockets in the order that RFC 5780 wants, or nil if there is no alternate address. Clients
// reach the two addresses as first and second.
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

// bindable returns the address at which sockets for ip are opened: ip itself, or the unspecified address if ip
// belongs to a gateway that translates it to this machine.
func bindable(ip netip.Addr) netip.Addr {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		return netip.IPv4Unspecified()
	}
	conn.Close()
	return ip
}
