// Package config defines the settings of the rendezvous and checks them.
package config

import (
	"log/slog"
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
	// OnReady is called with the join link once this instance is ready (/readyz) and has a
	// certificate. It may be nil.
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
