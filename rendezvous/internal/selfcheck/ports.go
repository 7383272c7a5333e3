package selfcheck

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/easyfind-usb/easyfind/internal/doctor"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// checkPorts checks the ports in the settings.
func (c Config) checkPorts(running bool) (found []doctor.Finding) {
	for _, p := range c.Ports {
		if p.Address != "" && !strings.HasSuffix(p.Address, ":0") {
			found = append(found, p.check(running))
		}
	}
	return found
}

// answers reports whether the server of a join link answers at the HTTPS port of this
// machine.
func (c Config) answers(ctx context.Context, t doctor.Target) bool {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return false
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if t.Link.Pin != nil {
		config = ident.PinnedTLS(*t.Link.Pin)
	}
	config.ServerName, _, _ = net.SplitHostPort(t.Link.Host)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// check checks whether a port is free or in use.
func (p Port) check(running bool) doctor.Finding {
	check := fmt.Sprintf("port %s/%s", strings.TrimPrefix(p.Address, ":"), p.Network)
	err := p.listen()
	switch {
	case err == nil && running:
		return doctor.Bad(check, "restart the server: it runs with other settings",
			"free, although the server runs (%s)", p.Flag)
	case err == nil:
		return doctor.Note(check, "start the server", "free (%s): the server does not run", p.Flag)
	case !errors.Is(err, syscall.EADDRINUSE):
		return doctor.Bad(check, "correct --"+p.Flag+"; a port below 1024 needs root or CAP_NET_BIND_SERVICE",
			"the server cannot use it: %v", err)
	case running:
		return doctor.Good(check, "the server uses it (%s)", p.Flag)
	}
	return doctor.Bad(check, "stop the program that uses it (ss -lnp), or choose another with --"+p.Flag,
		"another program has it (%s)", p.Flag)
}

// listen returns nil if the port is free.
func (p Port) listen() error {
	if p.Network == "udp" {
		c, err := net.ListenPacket("udp", p.Address)
		if err != nil {
			return err
		}
		return c.Close()
	}
	l, err := net.Listen("tcp", p.Address)
	if err != nil {
		return err
	}
	return l.Close()
}
