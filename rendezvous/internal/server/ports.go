package server

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/config"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay"
)

// ports holds the ports of an instance. Except for https and stun, they may be nil.
type ports struct {
	https    net.Listener
	stun     *relay.Sockets
	http     net.Listener // for reverse proxies
	metrics  net.Listener
	redirect net.Listener // HTTP
	cluster  net.Listener // for links from other instances
}

// open opens the ports of the settings. If it fails, the ports that it has opened must be
// closed.
func (p *ports) open(s *config.Settings) (err error) {
	if p.https, err = listen("HTTPS", "listen", s.Listen); err != nil {
		return err
	}
	if p.stun, err = relay.Listen(s.STUNListen, s.Alternate[1]); err != nil {
		return err
	}
	if _, port, err := net.SplitHostPort(s.MetricsListen); s.MetricsListen != "" && (err != nil || !numeric(port)) {
		return fmt.Errorf("--metrics-listen %q: want HOST:PORT, such as 127.0.0.1:9464", s.MetricsListen)
	}
	for _, o := range []struct {
		port                   *net.Listener
		purpose, flag, address string
	}{
		{&p.http, "reverse proxies", "http-listen", s.HTTPListen},
		{&p.metrics, "Prometheus", "metrics-listen", s.MetricsListen},
		{&p.redirect, "HTTP", "acme-http-listen", s.ACME.Listen},
		{&p.cluster, "other instances", "cluster-listen", s.ClusterListen},
	} {
		if o.address == "" {
			continue
		}
		if *o.port, err = listen(o.purpose, o.flag, o.address); err != nil {
			return err
		}
	}
	return nil
}

// listen opens a TCP port.
func listen(purpose, flag, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for %s: %w: stop the program that uses the port, or choose another with --%s",
			purpose, err, flag)
	}
	return l, nil
}

func numeric(port string) bool {
	_, err := strconv.ParseUint(port, 10, 16)
	return err == nil
}

// close closes the ports. It may be called more than once.
func (p *ports) close() error {
	var errs []error
	for _, l := range []net.Listener{p.https, p.http, p.metrics, p.redirect, p.cluster} {
		if l != nil {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	if p.stun != nil {
		p.stun.Close()
	}
	return errors.Join(errs...)
}

// logAddresses logs the address of each port.
func (p *parts) logAddresses() {
	log, s := p.settings.Logger, p.settings
	log.Info("the rendezvous is serving", "addr", p.ports.https.Addr().String(),
		"stun_addr", p.ports.stun.Address().String(), "relay_addr", s.RelayAddress.String(), "dir", s.Data)
	if p.ports.metrics != nil {
		log.Info("serving metrics", "addr", p.ports.metrics.Addr().String())
	}
	if p.ports.redirect != nil {
		log.Info("redirecting HTTP to HTTPS", "addr", p.ports.redirect.Addr().String())
	}
	if p.ports.cluster != nil {
		log.Info("accepting links from other instances", "addr", p.ports.cluster.Addr().String())
	}
	if p.ports.http != nil {
		log.Info("accepting connections from reverse proxies", "addr", p.ports.http.Addr().String())
	}
	if config.OnlyLocal(s.PublicHost) {
		log.Warn("the join link works on this machine only; set --public-url to the address for others",
			"host", s.PublicHost)
	}
}
