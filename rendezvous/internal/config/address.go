package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Locate sets the addresses that the settings leave open, from the address of the
// HTTPS listener and the addresses of this machine.
func (s *Settings) Locate(listener net.Addr) error {
	bound, err := netip.ParseAddrPort(listener.String())
	if err != nil {
		return fmt.Errorf("address of the listener: %w", err)
	}
	if s.PublicHost == "" {
		s.PublicHost = MachineAddress(bound.Addr()).String()
	}
	if s.PublicPort == "" {
		s.PublicPort = fmt.Sprint(bound.Port())
	}
	if s.RelayAddress.IsValid() {
		return nil
	}
	if ip, err := netip.ParseAddr(s.PublicHost); err == nil && ip.Unmap().Is4() {
		s.RelayAddress = ip.Unmap()
		return nil
	}
	if ips, err := net.LookupIP(s.PublicHost); err == nil {
		if s.RelayAddress = relayable(s.PublicHost, ips); s.RelayAddress.IsValid() {
			return nil
		}
	}
	if s.RelayAddress = outbound(); !s.RelayAddress.IsValid() {
		return errors.New("this machine has no IPv4 address to relay at: set one with --relay-ip")
	}
	return nil
}

// relayable returns the IPv4 address of a host that others can reach. It skips the
// loopback address that /etc/hosts of Debian assigns to the name of the machine.
func relayable(host string, ips []net.IP) netip.Addr {
	for _, ip := range ips {
		if four := ip.To4(); four != nil && (!ip.IsLoopback() || host == localhost) {
			return netip.AddrFrom4([4]byte(four))
		}
	}
	return netip.Addr{}
}

const localhost = "localhost"

// OnlyLocal reports whether only this machine can reach a host.
func OnlyLocal(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == localhost || err == nil && ip.Unmap().IsLoopback()
}

// MachineAddress returns bound, or the address of this machine if bound is unspecified.
func MachineAddress(bound netip.Addr) netip.Addr {
	bound = bound.Unmap()
	if !bound.IsUnspecified() {
		return bound
	}
	if ip := outbound(); ip.IsValid() {
		return ip
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// outbound returns the address from which this machine reaches the internet, or the
// first address of an interface other than loopback. It sends nothing.
func outbound() netip.Addr {
	if conn, err := net.Dial("udp4", "192.0.2.1:9"); err == nil {
		defer conn.Close()
		return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}
	}
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// Origin returns the URL of the server, without a path.
func (s *Settings) Origin() string {
	return "https://" + net.JoinHostPort(s.PublicHost, s.PublicPort)
}
