package localapi

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// The default ports of direct addresses.
const (
	portTLS = "7574"
	portTCP = "7575"
)

// maxAddresses bounds the direct addresses of one peer.
const maxAddresses = 16

// DirectAddress checks an address at which the agent dials a peer without a
// rendezvous, such as "tls://host:7574" or "tcp://host:7575". It returns the address
// with its port.
func DirectAddress(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || !isHost(u.Hostname()) || u.Opaque != "" || u.User != nil || u.RawQuery != "" ||
		u.Fragment != "" || u.Path != "" && u.Path != "/" {
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

// isHost reports whether s is an IP address or a DNS name (RFC 1123 section 2.1). An
// address with a zone is refused: the zone means something on one machine only. The
// underscore is allowed because it is common in private networks.
func isHost(s string) bool {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
	return net.ParseIP(s) != nil || s != "" && len(s) <= 253 && strings.Trim(s, letters) == ""
}

func notDirect(s string) error {
	return &Problem{CodeInvalid, fmt.Sprintf(
		"%.100q is not a direct address: want tls://HOST:7574, or tcp://HOST:7575 for a trusted network", s)}
}

// checked returns the request with checked addresses; see [DirectAddress].
func (r ReachRequest) checked() (ReachRequest, error) {
	if len(r.Addresses) > maxAddresses {
		return r, &Problem{
			CodeInvalid,
			fmt.Sprintf("%d addresses are too many: give at most %d", len(r.Addresses), maxAddresses),
		}
	}
	addresses := make([]string, len(r.Addresses))
	for i, a := range r.Addresses {
		var err error
		if addresses[i], err = DirectAddress(a); err != nil {
			return r, err
		}
	}
	r.Addresses = addresses
	return r, nil
}
