package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// readRelay checks the settings of the relay.
func (s *Settings) readRelay() error {
	if s.RelayIP != "" {
		ip, err := netip.ParseAddr(s.RelayIP)
		if err != nil || !ip.Unmap().Is4() {
			return fmt.Errorf("--relay-ip %q: want an IPv4 address", s.RelayIP)
		}
		s.RelayAddress = ip.Unmap()
	}
	var err error
	if s.RelayNetworks, err = networks("--relay-allow", s.RelayAllow); err != nil {
		return err
	}
	for name, n := range map[string]int{
		"--relay-per-peer": s.RelayPerPeer, "--relay-allocations": s.RelayAllocations,
		"--relay-rate-per-peer":    s.RelayPeerRate,
		"--relay-packets-per-peer": s.RelayPeerPackets, "--relay-rate": s.RelayRate, "--relay-packets": s.RelayPackets,
	} {
		if n < 0 || n > maxRelaySetting {
			return fmt.Errorf("%s %d: want a number from 0 to %d", name, n, maxRelaySetting)
		}
	}
	if err := s.readAlternate(); err != nil {
		return err
	}
	if s.RelayPorts == "" {
		return nil
	}
	n, err := fmt.Sscanf(s.RelayPorts, "%d-%d", &s.PortRange[0], &s.PortRange[1])
	if n != 2 || err != nil || s.PortRange[0] == 0 || s.PortRange[0] > s.PortRange[1] {
		return fmt.Errorf("--relay-ports %q: want the first and the last port, such as 49152-65535", s.RelayPorts)
	}
	return nil
}

// maxRelaySetting bounds the limits of the relay. No machine relays more.
const maxRelaySetting = 100_000_000

// readAlternate checks --stun-alternate-ip.
func (s *Settings) readAlternate() error {
	if s.STUNAlternate == "" {
		return nil
	}
	public, local, translated := strings.Cut(s.STUNAlternate, "/")
	if !translated {
		local = public
	}
	for i, text := range []string{public, local} {
		ip, err := netip.ParseAddr(text)
		if err != nil || !ip.Is4() || ip.IsUnspecified() {
			return fmt.Errorf("--stun-alternate-ip %q: want an IPv4 address, or PUBLIC/LOCAL", s.STUNAlternate)
		}
		s.Alternate[i] = ip
	}
	return nil
}

// RelayPortCount returns the number of ports for relayed addresses.
func (s *Settings) RelayPortCount() int {
	if s.PortRange[1] == 0 {
		return 65535 - 49152 + 1
	}
	return int(s.PortRange[1]) - int(s.PortRange[0]) + 1
}
