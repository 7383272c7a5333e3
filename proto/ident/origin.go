package ident

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// Origin is the address of a rendezvous in the form "https://host:port". Behind a
// reverse proxy that ends TLS, an agent signs the origin that it has dialled, and
// the rendezvous compares it with its own.
type Origin string

// OriginOf returns the normalized origin for the host and port of a URL. The
// default port is 443.
func OriginOf(hostPort string) Origin {
	u := url.URL{Host: hostPort}
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = "443"
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return Origin("https://" + net.JoinHostPort(host, port))
}
