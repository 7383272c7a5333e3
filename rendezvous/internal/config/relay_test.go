package config

import (
	"net"
	"strings"
	"testing"
)

func TestRelaySettingsAreChecked(t *testing.T) {
	for wrong, change := range map[string]func(*Config){
		"--relay-rate-per-peer -1":     func(c *Config) { c.RelayPeerRate = -1 },
		"--relay-packets 1000000000":   func(c *Config) { c.RelayPackets = 1_000_000_000 },
		"want an IPv4 address, or":     func(c *Config) { c.STUNAlternate = "2001:db8::1" },
		"PUBLIC/LOCAL":                 func(c *Config) { c.STUNAlternate = "203.0.113.8/host" },
		"--relay-allocations -1: want": func(c *Config) { c.RelayAllocations = -1 },
	} {
		c := Config{Data: t.TempDir()}
		change(&c)
		if _, err := c.Check(); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%v, want %q", err, wrong)
		}
	}
	c := Config{Data: t.TempDir()}
	c.STUNAlternate = "203.0.113.8/10.0.0.5"
	s, err := c.Check()
	if err != nil || s.Alternate[0].String() != "203.0.113.8" ||
		s.Alternate[1].String() != "10.0.0.5" {
		t.Errorf("%v: %v", c.STUNAlternate, err)
	}
}

func TestLoopbackAddressOfEtcHostsIsNotRelayed(t *testing.T) {
	own, public, six := net.ParseIP("127.0.1.1"), net.ParseIP("203.0.113.7"), net.ParseIP("2001:db8::7")
	for _, c := range []struct {
		host string
		ips  []net.IP
		want string
	}{
		{"rendezvous.example.org", []net.IP{own, six, public}, "203.0.113.7"},
		{"rendezvous.example.org", []net.IP{own}, "invalid IP"},
		{"localhost", []net.IP{net.ParseIP("127.0.0.1")}, "127.0.0.1"},
	} {
		if got := relayable(c.host, c.ips).String(); got != c.want {
			t.Errorf("%s at %v: relayed at %s, want %s", c.host, c.ips, got, c.want)
		}
	}
}
