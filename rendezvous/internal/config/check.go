package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/certs"
)

// Settings holds settings that were checked.
type Settings struct {
	Config
	PublicHost    string // without brackets; "" until Locate
	PublicPort    string // "" until Locate
	RelayAddress  netip.Addr
	RelayNetworks []netip.Prefix
	PortRange     [2]uint16     // of relayed addresses; zero: the default
	Alternate     [2]netip.Addr // second STUN address as peers reach it, and on this machine
	Balancers     []netip.Prefix
	Proxies       []netip.Prefix
	ProxyPin      *ident.Pin // of the reverse proxies' certificate; nil if an authority has issued it

	KeyBytes []byte                 // content of the file of DatabaseKey; nil without one
	Account  *certs.ExternalAccount // may be nil
}

// Check checks the settings and reads the files that they name. The error says which
// setting is wrong and what to do.
func (c Config) Check() (*Settings, error) {
	s := &Settings{Config: c}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	if s.Data == "" {
		return nil, errors.New("no data directory: set it with --data")
	}
	if c.ClusterListen != "" && c.DatabaseURL == "" {
		return nil, errors.New("--cluster-listen is for instances that share a Postgres database: set " +
			"--database-url too")
	}
	if c.DatabaseURL != "" && !strings.HasPrefix(c.DatabaseURL, "postgres://") &&
		!strings.HasPrefix(c.DatabaseURL, "postgresql://") {
		return nil, errors.New("--database-url: want postgres://host:5432/database, with user:password@ before the " +
			"host")
	}
	if err := s.readPublicURL(); err != nil {
		return nil, err
	}
	if err := s.readCertificate(); err != nil {
		return nil, err
	}
	if utf8.RuneCountInString(s.Region) > api.MaxName {
		return nil, fmt.Errorf("--region: at most %d characters", api.MaxName)
	}
	if err := s.readProxies(); err != nil {
		return nil, err
	}
	if err := s.readRelay(); err != nil {
		return nil, err
	}
	return s, nil
}

// readPublicURL checks --public-url.
func (s *Settings) readPublicURL() error {
	if s.PublicURL == "" {
		return nil
	}
	u, err := url.Parse(s.PublicURL)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" ||
		u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("--public-url %q: want https://host:port", s.PublicURL)
	}
	s.PublicHost, s.PublicPort = u.Hostname(), u.Port()
	if s.PublicPort == "" {
		s.PublicPort = "443"
	}
	return nil
}
