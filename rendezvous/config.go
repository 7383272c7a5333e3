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

// Config holds the settings of the rendezvous. The tags define the names of flags,
// environment variables and file keys. HelpTexts returns the variables in its help
// texts.
type Config struct {
	Listen    string `default:":8443" placeholder:"HOST:PORT" help:"${listen_help}"`
	PublicURL string `name:"public-url" placeholder:"URL" help:"${public_url_help}"`
	Name      string `default:"EasyFind" help:"Name of the server, for people."`
	Open      bool   `help:"Let anybody register without an invite."`

	ProxyProtocol  []string `placeholder:"CIDR" help:"${proxy_protocol_help}"`
	TrustedProxies []string `placeholder:"CIDR" help:"${trusted_proxies_help}"`
	HTTPListen     string   `name:"http-listen" placeholder:"HOST:PORT" help:"${http_listen_help}"`
	PublicCert     string   `placeholder:"FILE" help:"${public_cert_help}"`
	PerSource      int      `name:"max-connections-per-source" default:"1024" help:"${per_source_help}"`

	Data        string `default:"easyfind-rendezvous" placeholder:"DIR" help:"${data_help}"`
	DatabaseURL string `name:"database-url" placeholder:"URL" help:"${database_url_help}"`
	DatabaseKey string `placeholder:"FILE" help:"${database_key_help}"`
	TLSCert     string `name:"tls-cert" placeholder:"FILE" help:"${tls_cert_help}"`
	TLSKey      string `name:"tls-key" placeholder:"FILE" help:"File of the certificate's key (PEM)."`
	ACME        ACME   `embed:""`

	STUNListen    string   `name:"stun-listen" default:":3478" placeholder:"HOST:PORT" help:"${stun_listen_help}"`
	RelayIP       string   `name:"relay-ip" placeholder:"IP" help:"${relay_ip_help}"`
	RelayAllow    []string `placeholder:"CIDR" help:"${relay_allow_help}"`
	RelayPorts    string   `default:"49152-65535" placeholder:"FIRST-LAST" help:"UDP ports of relayed addresses."`
	STUNAlternate string   `name:"stun-alternate-ip" placeholder:"IP" help:"${stun_alternate_help}"`

	RelayPerPeer     int `default:"8" help:"Maximum number of relayed addresses of one peer."`
	RelayAllocations int `default:"4096" help:"Maximum number of relayed addresses of all peers together."`
	RelayPeerRate    int `name:"relay-rate-per-peer" default:"200" help:"${relay_peer_rate_help}"`
	RelayPeerPackets int `name:"relay-packets-per-peer" default:"40000" help:"${relay_peer_packets_help}"`
	RelayRate        int `default:"0" help:"Maximum Mbit/s relayed for all peers together. 0: no limit."`
	RelayPackets     int `default:"0" help:"Maximum packets per second relayed for all peers together. 0: no limit."`

	ClusterListen  string `placeholder:"HOST:PORT" help:"${cluster_listen_help}"`
	ClusterAddress string `placeholder:"HOST:PORT" help:"${cluster_address_help}"`

	MetricsListen string `placeholder:"HOST:PORT" help:"${metrics_listen_help}"`
	NoPathReports bool   `name:"no-path-reports" help:"${no_path_reports_help}"`

	Region string `placeholder:"NAME" help:"Location of this instance, for administrators and peers."`

	Logger *slog.Logger `kong:"-"`
	// OnReady is called with the join link once the server answers. It may be nil.
	OnReady func(joinLink string) `kong:"-"`
}

// ACME holds the settings of a certificate from an authority.
type ACME struct {
	On         bool   `name:"acme" help:"${acme_help}"`
	AgreeTerms bool   `name:"acme-agree-terms" help:"${acme_agree_terms_help}"`
	Email      string `name:"acme-email" placeholder:"ADDRESS" help:"Address for messages from the authority."`
	Directory  string `name:"acme-directory" default:"${acme_directory}" placeholder:"URL" help:"URL of the authority."`
	CA         string `name:"acme-ca" placeholder:"FILE" help:"${acme_ca_help}"`
	Account    string `name:"acme-account" placeholder:"FILE" help:"${acme_account_help}"`
	Listen     string `name:"acme-http-listen" placeholder:"HOST:PORT" help:"${acme_http_listen_help}"`
}

// HelpTexts returns the variables in the tags of Config, by name.
func HelpTexts() map[string]string {
	return map[string]string{
		"acme_directory": certs.LetsEncrypt,

		"listen_help": "Address of the HTTPS port, which serves REST, signalling and TURN over TLS.",
		"public_url_help": "URL at which peers reach that port, as https://host:port. Default: the address of this " +
			"machine.",
		"proxy_protocol_help": "Networks of load balancers that pass TCP through and send a PROXY protocol header " +
			"(version 1 or 2), such as 192.0.2.7/32. Every connection from there must begin with the header.",
		"trusted_proxies_help": "Networks of reverse proxies that terminate TLS, such as 127.0.0.0/8. Their " +
			"X-Forwarded-For is trusted.",
		"http_listen_help": "Address of an HTTP port without TLS, only for the reverse proxies of --trusted-proxies.",
		"public_cert_help": "File of the certificate (PEM) of these reverse proxies. Needed only if no authority " +
			"that " +
			"agents trust has issued it: the join link then contains its pin.",
		"per_source_help": "Maximum number of TCP connections from one IPv4 address or IPv6 /64. Many agents may " +
			"share " +
			"an address.",

		"data_help": "Directory of the database, the certificate, the join link and the admin link.",
		"database_url_help": "Postgres database that several instances share, as " +
			"postgres://user:password@host:5432/database. Default: SQLite in the data directory.",
		"database_key_help": "File of at least 32 random bytes with which private keys in the database are " +
			"encrypted. " +
			"All instances need the same file. Default: they are not encrypted.",
		"tls_cert_help": "File of the certificate (PEM). The server reads it again when it changes. Default: a " +
			"self-signed certificate, whose pin is in the join link.",

		"acme_help": "Obtain and renew a certificate for the host of --public-url from an authority by ACME. " +
			"Instances " +
			"with the same database share it.",
		"acme_agree_terms_help": "You have read and accept the terms of the authority. Those of Let's Encrypt are at " +
			"https://letsencrypt.org/repository/.",
		"acme_ca_help": "File of the root certificates (PEM) with which to verify the certificate of a private " +
			"authority. Default: those of the system.",
		"acme_account_help": "File with the key identifier and the HMAC key of your account with the authority, if " +
			"it " +
			"requires one.",
		"acme_http_listen_help": "Address of an HTTP port for an authority that cannot use the HTTPS port. It " +
			"redirects " +
			"everybody else to HTTPS. The authority connects to port 80.",

		"stun_listen_help": "Address of STUN and TURN over UDP and TCP. The next UDP port is used too.",
		"relay_ip_help": "IPv4 address of relayed addresses, as peers reach it. Default: the address of the public " +
			"URL " +
			"or of this machine.",
		"relay_allow_help": "Networks other than the public internet to which peers may relay packets, such as " +
			"192.168.1.0/24.",
		"stun_alternate_help": "Second IPv4 address of this machine, with which agents find out how their NAT " +
			"behaves " +
			"(RFC 5780). --stun-listen must then name the first one. PUBLIC/LOCAL if a gateway translates it.",
		"relay_peer_rate_help": "Maximum Mbit/s relayed for one peer, in both directions together. 0: no limit.",
		"relay_peer_packets_help": "Maximum packets per second relayed for one peer, in both directions together. " +
			"0: no limit.",

		"cluster_listen_help": "Address for links from other instances. Needs a Postgres database.",
		"cluster_address_help": "Address at which other instances reach that port. Default: the address of this " +
			"machine.",

		"metrics_listen_help": "Address of /metrics for Prometheus, over HTTP without TLS. Keep it in a private " +
			"network. " +
			"Default: none.",
		"no_path_reports_help": "Do not ask agents whether their links are direct or relayed. The admin page then " +
			"shows " +
			"no links.",
	}
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
	if c.DatabaseURL != "" && !strings.HasPrefix(c.DatabaseURL, "postgres://") &&
		!strings.HasPrefix(c.DatabaseURL, "postgresql://") {
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
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" ||
		u.RawQuery != "" || u.Fragment != "" || u.User != nil {
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
