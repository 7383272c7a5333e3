package config

import "github.com/easyfind-usb/easyfind/rendezvous/internal/certs"

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
