package ident

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// Origin is how a rendezvous is reached, "https://host:port": what an agent
// dialled, and what the rendezvous knows itself by. The two must be equal where
// a signature names it in place of a TLS connection.
type Origin string

// OriginOf returns the origin of a host and port, as they stand in a URL. The
// port is 443 if there is none.
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
