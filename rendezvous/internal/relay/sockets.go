package relay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// Sockets are where clients come. Relay takes them over.
type Sockets struct {
	UDP    *net.UDPConn
	Second *net.UDPConn // one port above: an agent that asks both sees how its NAT maps
	TCP    net.Listener
}

// attempts to find three neighbouring free ports when any will do.
const anyPortAttempts = 32

// Listen opens the sockets at host:port. With port 0 it takes any that is free.
func Listen(address string) (*Sockets, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("STUN address %q: want host:port, such as :3478", address)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("STUN address %q: want a port from 0 to 65534", address)
	}
	if port != 0 {
		return listen(host, uint16(port))
	}
	for range anyPortAttempts {
		probe, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
		if err != nil {
			return nil, fmt.Errorf("listen for STUN on %s: %w", address, err)
		}
		free := probe.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		probe.Close()
		if s, err := listen(host, free); err == nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("listen for STUN on %s: no two neighbouring ports are free", address)
}

func listen(host string, port uint16) (*Sockets, error) {
	if port == 65535 {
		return nil, errors.New("STUN port 65535 has no next one: choose a lower port")
	}
	s := &Sockets{}
	first := net.JoinHostPort(host, strconv.Itoa(int(port)))
	second := net.JoinHostPort(host, strconv.Itoa(int(port)+1))
	var err error
	if s.UDP, err = listenUDP(first); err == nil {
		if s.Second, err = listenUDP(second); err == nil {
			s.TCP, err = net.Listen("tcp", first)
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
	return net.ListenUDP("udp", a)
}

// Port is the first port, of UDP and TCP.
func (s *Sockets) Port() uint16 { return s.UDP.LocalAddr().(*net.UDPAddr).AddrPort().Port() }

// Close closes those that are open.
func (s *Sockets) Close() {
	if s.UDP != nil {
		s.UDP.Close()
	}
	if s.Second != nil {
		s.Second.Close()
	}
	if s.TCP != nil {
		s.TCP.Close()
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
