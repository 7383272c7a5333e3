package config

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// readProxies checks the settings of load balancers and reverse proxies.
func (s *Settings) readProxies() (err error) {
	if s.PerSource < 0 {
		return errors.New("--max-connections-per-source: want at least 1")
	}
	if s.Balancers, err = networks("--proxy-protocol", s.ProxyProtocol); err != nil {
		return err
	}
	if s.Proxies, err = networks("--trusted-proxies", s.TrustedProxies); err != nil {
		return err
	}
	switch {
	case s.HTTPListen != "" && len(s.Proxies) == 0:
		return errors.New("--http-listen is for reverse proxies only: set --trusted-proxies to their addresses")
	case s.PublicCert != "" && len(s.Proxies) == 0:
		return errors.New("--public-cert is the certificate of a reverse proxy: set --trusted-proxies to its address")
	case len(s.Proxies) > 0 && s.PublicURL == "":
		return errors.New("--trusted-proxies: set --public-url too, to the address of the reverse proxy as agents " +
			"dial it: their signatures name it")
	}
	return s.readPublicCert()
}

// networks parses a list of networks or single addresses.
func networks(flag string, list []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range list {
		p, err := netip.ParsePrefix(text)
		if a, bad := netip.ParseAddr(text); bad == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p.Addr().Is4In6() {
			return nil, fmt.Errorf("%s %q: want a network such as 192.168.1.0/24", flag, text)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// maxCertFile bounds the certificate of a reverse proxy, in bytes.
const maxCertFile = 256 << 10

// readPublicCert reads the pin of the certificate that reverse proxies use.
func (s *Settings) readPublicCert() error {
	if s.PublicCert == "" {
		return nil
	}
	raw, err := readFile(s.PublicCert, maxCertFile)
	if err != nil {
		return fmt.Errorf("--public-cert: %w", err)
	}
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("--public-cert %s: %w", s.PublicCert, err)
		}
		pin := ident.PinOf(c)
		s.ProxyPin = &pin
		return nil
	}
	return fmt.Errorf("--public-cert %s: want a certificate in PEM", s.PublicCert)
}
