package config

import (
	"errors"
	"fmt"
	"io"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/certs"
)

// Bounds of the files that settings name, in bytes.
const (
	maxKeyFile     = 64 << 10
	maxAccountFile = 4096
)

// readCertificate checks the settings of the certificate, and reads the key for the
// database.
func (s *Settings) readCertificate() error {
	if (s.TLSCert == "") != (s.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key belong together: set both or neither")
	}
	if s.DatabaseKey != "" {
		key, err := readFile(s.DatabaseKey, maxKeyFile)
		if err != nil {
			return fmt.Errorf("--database-key: %w", err)
		}
		if len(key) < certs.MinKey {
			return fmt.Errorf("--database-key %s: the file has %d bytes, want at least %d random bytes: head -c 32 "+
				"/dev/urandom > FILE", s.DatabaseKey, len(key), certs.MinKey)
		}
		s.KeyBytes = key
	}
	a := s.ACME
	switch {
	case !a.On && (a.AgreeTerms || a.Email != "" || a.CA != "" || a.Account != "" || a.Listen != ""):
		return errors.New("--acme-agree-terms and the other settings of ACME do nothing without --acme: set it too")
	case !a.On:
		return nil
	case s.TLSCert != "":
		return errors.New("--acme and --tls-cert exclude each other: the certificate comes from an authority or " +
			"from a file")
	case s.PublicHost == "":
		return errors.New("--acme: set --public-url too, to the name for which there shall be a certificate, as " +
			"https://rendezvous.example.org")
	case !a.AgreeTerms:
		return errors.New("--acme: read the authority's terms (Let's Encrypt: " +
			"https://letsencrypt.org/repository/), and set --acme-agree-terms if you accept them")
	}
	return s.readACME()
}

// readACME checks the settings of ACME.
func (s *Settings) readACME() error {
	a := s.ACME
	if u, err := url.Parse(a.Directory); err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("--acme-directory %q: want the address of an authority's directory, as "+
			"https://acme-v02.api.letsencrypt.org/directory", a.Directory)
	}
	if a.Email != "" {
		if parsed, err := mail.ParseAddress(a.Email); err != nil || parsed.Address != a.Email ||
			strings.ContainsAny(a.Email, "?,; ") {
			return fmt.Errorf("--acme-email %q: want one address, as you@example.org", a.Email)
		}
	}
	if a.Directory == certs.LetsEncrypt && !public(s.PublicHost) {
		return fmt.Errorf("--acme: Let's Encrypt gives no certificate for %s, which only your network knows: use a "+
			"public name in --public-url, or another authority with --acme-directory, or none of both and a "+
			"self-signed certificate", s.PublicHost)
	}
	if a.Account == "" {
		return nil
	}
	raw, err := readFile(a.Account, maxAccountFile)
	if err != nil {
		return fmt.Errorf("--acme-account: %w", err)
	}
	words := strings.Fields(string(raw))
	if len(words) != 2 {
		return fmt.Errorf("--acme-account %s: want two words, the key identifier and the HMAC key", a.Account)
	}
	s.Account = &certs.ExternalAccount{ID: words[0], Key: strings.TrimRight(words[1], "=")}
	return nil
}

// public reports whether a host can be known outside of a private network.
func public(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsGlobalUnicast() && !ip.IsPrivate()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, own := range []string{
		"localhost", "local", "internal", "lan", "home", "corp", "test", "example",
		"invalid", "home.arpa",
	} {
		if strings.HasSuffix("."+host, "."+own) {
			return false
		}
	}
	return strings.Contains(host, ".")
}

// readFile reads a file of at most most bytes.
func readFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(raw)) > most {
		err = fmt.Errorf("%s: larger than %d bytes: is it the right file?", path, most)
	}
	return raw, err
}
