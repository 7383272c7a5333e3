package api

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// JoinLink holds the parts of the link by which agents join a rendezvous:
//
//	https://host:port/#pin=...&invite=...
//
// Both parts of the fragment are optional. Without a pin, agents check the server's
// certificate against the system's roots, as browsers do. Without an invite, the
// rendezvous must be open, or must know the peer already. The invite is a secret.
type JoinLink struct {
	Host   string // host:port
	Pin    *ident.Pin
	Invite string
}

// Bounds of a join link, in characters.
const (
	maxJoinLink   = 2048
	maxLinkInvite = 256
)

// ErrJoinLink is the error of every string that is not a join link. Its text never
// repeats the string, because that may contain an invite.
var ErrJoinLink = errors.New("not a join link: " +
	"want https://host:port/#pin=...&invite=..., as the rendezvous prints it when it starts")

// ParseJoinLink parses a join link. The default port is 443.
func ParseJoinLink(s string) (JoinLink, error) {
	s = strings.TrimSpace(s)
	if len(s) > maxJoinLink {
		return JoinLink{}, ErrJoinLink
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
		return JoinLink{}, ErrJoinLink
	}
	j := JoinLink{Host: u.Host}
	if u.Port() == "" {
		j.Host = net.JoinHostPort(u.Hostname(), "443")
	}
	values, err := url.ParseQuery(u.Fragment)
	if err != nil {
		return JoinLink{}, ErrJoinLink
	}
	if pin := values.Get("pin"); pin != "" {
		p, err := ident.ParsePin(pin)
		if err != nil {
			return JoinLink{}, fmt.Errorf("%w: %w", ErrJoinLink, err)
		}
		j.Pin = &p
	}
	if j.Invite = values.Get("invite"); len(j.Invite) > maxLinkInvite {
		return JoinLink{}, fmt.Errorf("%w: its invite is too long", ErrJoinLink)
	}
	return j, nil
}
