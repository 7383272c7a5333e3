package localapi

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// The ports that are meant where a direct address names none.
const (
	portTLS = "7574"
	portTCP = "7575"
)

// maxAddresses bounds the direct addresses of one peer.
const maxAddresses = 16

// DirectAddress reads an address at which a peer is dialed without a
// rendezvous, "tls://host:7574" or "tcp://host:7575", and returns it with its
// port.
func DirectAddress(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || !host(u.Hostname()) || u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return "", notDirect(s)
	}
	port := u.Port()
	switch {
	case u.Scheme == "tls" && port == "":
		port = portTLS
	case u.Scheme == "tcp" && port == "":
		port = portTCP
	case u.Scheme != "tls" && u.Scheme != "tcp":
		return "", notDirect(s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", notDirect(s)
	}
	return u.Scheme + "://" + net.JoinHostPort(u.Hostname(), port), nil
}

// host reports whether s is an IP address without a zone, which means nothing
// on another machine, or a name as DNS has them (RFC 1123 section 2.1; the
// underscore is common in private networks).
func host(s string) bool {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
	return net.ParseIP(s) != nil || s != "" && len(s) <= 253 && strings.Trim(s, letters) == ""
}

func notDirect(s string) error {
	return &Problem{CodeInvalid, fmt.Sprintf("%.100q is no direct address: want tls://HOST:7574, or tcp://HOST:7575 for a trusted network", s)}
}

// direct holds a request to the form of its addresses.
func (r ReachRequest) direct() (ReachRequest, error) {
	if len(r.Addresses) > maxAddresses {
		return r, &Problem{CodeInvalid, fmt.Sprintf("%d addresses are too many: give at most %d", len(r.Addresses), maxAddresses)}
	}
	checked := make([]string, len(r.Addresses))
	for i, a := range r.Addresses {
		var err error
		if checked[i], err = DirectAddress(a); err != nil {
			return r, err
		}
	}
	r.Addresses = checked
	return r, nil
}
