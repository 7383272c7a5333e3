package rendezvous

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/certs"
)

// Config is every setting of the rendezvous. The tags are those of its flags,
// environment variables and file keys.
type Config struct {
	Listen    string `help:"Address of the HTTPS port: REST, signalling and TURN over TLS." default:":8443" placeholder:"HOST:PORT"`
	PublicURL string `name:"public-url" help:"How peers reach that port, as https://host:port. Default: this machine's address." placeholder:"URL"`
	Name      string `help:"What the server calls itself." default:"EasyFind"`
	Open      bool   `help:"Let anybody register, without an invite."`

	ProxyProtocol  []string `name:"proxy-protocol" help:"Networks of load balancers that pass TCP on behind a PROXY protocol header (version 1 or 2), such as 192.0.2.7/32. Every connection from there must have one." placeholder:"CIDR"`
	TrustedProxies []string `name:"trusted-proxies" help:"Networks of reverse proxies that end TLS, such as 127.0.0.0/8; their X-Forwarded-For is believed." placeholder:"CIDR"`
	HTTPListen     string   `name:"http-listen" help:"Address of HTTP without TLS, for the reverse proxies of --trusted-proxies only." placeholder:"HOST:PORT"`
	PublicCert     string   `name:"public-cert" help:"Certificate file (PEM) that those reverse proxies show, if no authority that agents know has signed it; its pin is then in the join link." placeholder:"FILE"`
	PerSource      int      `name:"max-connections-per-source" help:"TCP connections that one IPv4 address or IPv6 /64 may have; behind one address there may be many agents." default:"1024"`

	Data        string `help:"Directory for the database, the certificate and the links to join and to administer." default:"easyfind-rendezvous" placeholder:"DIR"`
	DatabaseURL string `name:"database-url" help:"Postgres database that several instances share, as postgres://user:password@host:5432/database. Default: SQLite in the data directory." placeholder:"URL"`
	DatabaseKey string `name:"database-key" help:"File of 32 or more random bytes by which private keys in the database are encrypted; the same for all instances. Default: they are not encrypted." placeholder:"FILE"`
	TLSCert     string `name:"tls-cert" help:"Certificate file (PEM), which is read again when it changes. Default: a self-signed one, whose pin is in the join link." placeholder:"FILE"`
	TLSKey      string `name:"tls-key" help:"Key file of the certificate (PEM)." placeholder:"FILE"`
	ACME        ACME   `embed:""`

	STUNListen    string   `name:"stun-listen" help:"Address of STUN and TURN, UDP and TCP; the next UDP port is taken too." default:":3478" placeholder:"HOST:PORT"`
	RelayIP       string   `name:"relay-ip" help:"IPv4 address of relayed addresses, as peers reach it. Default: that of the public URL, or this machine's." placeholder:"IP"`
	RelayAllow    []string `name:"relay-allow" help:"Networks beside the public internet that peers may be relayed to, such as 192.168.1.0/24." placeholder:"CIDR"`
	RelayPorts    string   `name:"relay-ports" help:"UDP ports of relayed addresses." default:"49152-65535" placeholder:"FIRST-LAST"`
	STUNAlternate string   `name:"stun-alternate-ip" help:"Second IPv4 address of this machine, with which agents and others find out how their NAT behaves (RFC 5780); --stun-listen then names the first. PUBLIC/LOCAL where a gateway translates it." placeholder:"IP"`

	RelayPerPeer     int `name:"relay-per-peer" help:"Relayed addresses that one peer may have at a time." default:"8"`
	RelayAllocations int `name:"relay-allocations" help:"Relayed addresses that all peers together may have at a time." default:"4096"`
	RelayPeerRate    int `name:"relay-rate-per-peer" help:"Mbit/s that may be relayed for one peer, in both directions together; 0: any." default:"200"`
	RelayPeerPackets int `name:"relay-packets-per-peer" help:"Packets a second that may be relayed for one peer, in both directions together; 0: any." default:"40000"`
	RelayRate        int `name:"relay-rate" help:"Mbit/s that may be relayed for all peers together; 0: any." default:"0"`
	RelayPackets     int `name:"relay-packets" help:"Packets a second that may be relayed for all peers together; 0: any." default:"0"`

	ClusterListen  string `name:"cluster-listen" help:"Address of links from other instances; needs a Postgres database." placeholder:"HOST:PORT"`
	ClusterAddress string `name:"cluster-address" help:"How other instances reach that address. Default: this machine's address." placeholder:"HOST:PORT"`

	MetricsListen string `name:"metrics-listen" help:"Address of /metrics for Prometheus, over plain HTTP: of an operator's network, not of the public. Default: none." placeholder:"HOST:PORT"`
	NoPathReports bool   `name:"no-path-reports" help:"Do not ask agents whether their links are direct or relayed; the administrators' page then shows no pairs."`

	Region string `help:"Where this instance stands, as you call it; shown to administrators and peers." placeholder:"NAME"`

	Logger *slog.Logger `kong:"-"`
	// OnReady is told the join link once the server answers. Nil is fine.
	OnReady func(joinLink string) `kong:"-"`
}

// settings is a Config that has been checked.
type settings struct {
	Config
	publicHost string // without brackets; "" until the listener tells
	publicPort string // "" for that of the listener
	relayIP    netip.Addr
	relayAllow []netip.Prefix
	ports      [2]uint16
	alternate  [2]netip.Addr // the second STUN address as peers reach it, and of this machine
	balancers  []netip.Prefix
	proxies    []netip.Prefix
	proxyPin   *ident.Pin // of the certificate that they show; nil if an authority has signed it

	databaseKey []byte                 // nil without
	account     *certs.ExternalAccount // nil without
	reload      chan struct{}          // asks for the certificate's files to be read now
}

// check reads what is text in a Config.
func (c Config) check() (settings, error) {
	s := settings{Config: c, reload: make(chan struct{}, 1)}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	if s.Data == "" {
		return s, errors.New("no data directory: set it with --data")
	}
	if c.ClusterListen != "" && c.DatabaseURL == "" {
		return s, errors.New("--cluster-listen is for instances that share a Postgres database: set --database-url too")
	}
	if c.DatabaseURL != "" && !strings.HasPrefix(c.DatabaseURL, "postgres://") && !strings.HasPrefix(c.DatabaseURL, "postgresql://") {
		return s, errors.New("--database-url: want postgres://host:5432/database, with user:password@ before the host")
	}
	if err := s.readPublicURL(); err != nil {
		return s, err
	}
	if err := s.readCertificate(); err != nil {
		return s, err
	}
	if utf8.RuneCountInString(s.Region) > api.MaxName {
		return s, fmt.Errorf("--region: at most %d characters", api.MaxName)
	}
	if err := s.readProxies(); err != nil {
		return s, err
	}
	return s, s.readRelay()
}

func (s *settings) readPublicURL() error {
	if s.PublicURL == "" {
		return nil
	}
	u, err := url.Parse(s.PublicURL)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("--public-url %q: want https://host:port", s.PublicURL)
	}
	s.publicHost, s.publicPort = u.Hostname(), u.Port()
	if s.publicPort == "" {
		s.publicPort = "443"
	}
	return nil
}

func (s *settings) readRelay() error {
	if s.RelayIP != "" {
		ip, err := netip.ParseAddr(s.RelayIP)
		if err != nil || !ip.Unmap().Is4() {
			return fmt.Errorf("--relay-ip %q: want an IPv4 address", s.RelayIP)
		}
		s.relayIP = ip.Unmap()
	}
	var err error
	if s.relayAllow, err = networks("--relay-allow", s.RelayAllow); err != nil {
		return err
	}
	for name, n := range map[string]int{
		"--relay-per-peer": s.RelayPerPeer, "--relay-allocations": s.RelayAllocations, "--relay-rate-per-peer": s.RelayPeerRate,
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
	n, err := fmt.Sscanf(s.RelayPorts, "%d-%d", &s.ports[0], &s.ports[1])
	if n != 2 || err != nil || s.ports[0] == 0 || s.ports[0] > s.ports[1] {
		return fmt.Errorf("--relay-ports %q: want the first and the last port, such as 49152-65535", s.RelayPorts)
	}
	return nil
}

// maxRelaySetting is beyond what any machine relays.
const maxRelaySetting = 100_000_000

func (s *settings) readAlternate() error {
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
		s.alternate[i] = ip
	}
	return nil
}

// locate fills in how peers reach this machine, where the settings do not say.
func (s *settings) locate(listener net.Addr) error {
	bound, err := netip.ParseAddrPort(listener.String())
	if err != nil {
		return fmt.Errorf("address of the listener: %w", err)
	}
	if s.publicHost == "" {
		s.publicHost = s.machineAddress(bound.Addr()).String()
	}
	if s.publicPort == "" {
		s.publicPort = fmt.Sprint(bound.Port())
	}
	if s.relayIP.IsValid() {
		return nil
	}
	if ip, err := netip.ParseAddr(s.publicHost); err == nil && ip.Unmap().Is4() {
		s.relayIP = ip.Unmap()
		return nil
	}
	if ips, err := net.LookupIP(s.publicHost); err == nil {
		if s.relayIP = relayed(s.publicHost, ips); s.relayIP.IsValid() {
			return nil
		}
	}
	if s.relayIP = outbound(); !s.relayIP.IsValid() {
		return errors.New("this machine has no IPv4 address to relay at: set one with --relay-ip")
	}
	return nil
}

// relayed is the address among a host's at which others reach this machine: not
// the loopback one that /etc/hosts gives a machine's own name on Debian.
func relayed(host string, ips []net.IP) netip.Addr {
	for _, ip := range ips {
		if four := ip.To4(); four != nil && (!ip.IsLoopback() || host == localhost) {
			return netip.AddrFrom4([4]byte(four))
		}
	}
	return netip.Addr{}
}

const localhost = "localhost"

// hereOnly reports whether a host of a URL is reached from this machine alone.
func hereOnly(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == localhost || err == nil && ip.Unmap().IsLoopback()
}

// machineAddress is bound, or this machine's address where that is any.
func (s *settings) machineAddress(bound netip.Addr) netip.Addr {
	bound = bound.Unmap()
	if !bound.IsUnspecified() {
		return bound
	}
	if ip := outbound(); ip.IsValid() {
		return ip
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// outbound is the address from which this machine would reach the internet, or
// else the first one of its interfaces that is not loopback. Nothing is sent.
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

// instanceName is unique and tells an operator which machine it is.
func instanceName(random string) string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "instance"
	}
	if len(host) > 64 {
		host = host[:64]
	}
	return host + "-" + random
}
