package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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

// readCertificate checks the settings of the certificate.
func (s *settings) readCertificate() error {
	if (s.TLSCert == "") != (s.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key belong together: set both or none")
	}
	if s.DatabaseKey != "" {
		key, err := readFile(s.DatabaseKey, maxKeyFile)
		if err != nil {
			return fmt.Errorf("--database-key: %w", err)
		}
		if len(key) < certs.MinKey {
			return fmt.Errorf("--database-key %s: it has %d bytes, want at least %d random ones: head -c 32 /dev/urandom > FILE", s.DatabaseKey, len(key), certs.MinKey)
		}
		s.databaseKey = key
	}
	a := s.ACME
	switch {
	case !a.On && (a.AgreeTerms || a.Email != "" || a.CA != "" || a.Account != "" || a.Listen != ""):
		return errors.New("--acme-agree-terms and the other settings of ACME do nothing without --acme: set it too")
	case !a.On:
		return nil
	case s.TLSCert != "":
		return errors.New("--acme and --tls-cert exclude each other: the certificate comes from an authority or from a file")
	case s.publicHost == "":
		return errors.New("--acme: set --public-url too, to the name for which there shall be a certificate, as https://rendezvous.example.org")
	case !a.AgreeTerms:
		return errors.New("--acme: read the authority's terms (Let's Encrypt: https://letsencrypt.org/repository/), and set --acme-agree-terms if you accept them")
	}
	return s.readACME()
}

// readACME checks the settings of ACME.
func (s *settings) readACME() error {
	a := s.ACME
	if u, err := url.Parse(a.Directory); err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("--acme-directory %q: want the address of an authority's directory, as https://acme-v02.api.letsencrypt.org/directory", a.Directory)
	}
	if a.Email != "" {
		if parsed, err := mail.ParseAddress(a.Email); err != nil || parsed.Address != a.Email || strings.ContainsAny(a.Email, "?,; ") {
			return fmt.Errorf("--acme-email %q: want one address, as you@example.org", a.Email)
		}
	}
	if a.Directory == certs.LetsEncrypt && !public(s.publicHost) {
		return fmt.Errorf("--acme: Let's Encrypt gives no certificate for %s, which only your network knows: use a public name in --public-url, or another authority with --acme-directory, or none of both and a self-signed certificate", s.publicHost)
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
	s.account = &certs.ExternalAccount{ID: words[0], Key: strings.TrimRight(words[1], "=")}
	return nil
}

// public reports whether a host may be known beyond a network of its own.
func public(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsGlobalUnicast() && !ip.IsPrivate()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, own := range []string{"localhost", "local", "internal", "lan", "home", "corp", "test", "example", "invalid", "home.arpa"} {
		if strings.HasSuffix("."+host, "."+own) {
			return false
		}
	}
	return strings.Contains(host, ".")
}

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

// openCertificates makes what keeps the certificate and the keys of session
// tickets.
func (s *settings) openCertificates(ctx context.Context, p *parts) error {
	tickets, err := secret(ctx, p.database.Secrets, secretTickets)
	if err != nil {
		return err
	}
	config := certs.Config{
		Data: s.Data, Host: s.publicHost, Secret: append(tickets, s.databaseKey...), Reload: s.reload,
		Logger: s.Logger.With("part", "certificate"),
	}
	if s.TLSCert != "" {
		config.Files = &certs.Files{Cert: s.TLSCert, Key: s.TLSKey}
	}
	if s.ACME.On {
		config.ACME = &certs.ACME{
			Email: s.ACME.Email, Directory: s.ACME.Directory, CA: s.ACME.CA, Account: s.account,
			HTTPS: p.listener.Addr(), Store: certs.Store{Blobs: p.database.Blobs, Locks: p.database.Locks}, Key: s.databaseKey,
		}
		if p.redirect != nil {
			config.ACME.HTTP = p.redirect.listener.Addr()
		}
		s.warnOfPorts()
	}
	p.certs, err = certs.New(ctx, config)
	return err
}

// warnOfPorts says which port must lead here where that is not plain.
func (s *settings) warnOfPorts() {
	_, port, err := net.SplitHostPort(s.Listen)
	if err == nil && port != "443" && s.ACME.Listen == "" && s.ACME.Directory == certs.LetsEncrypt {
		s.Logger.Warn("the authority connects to port 443 of the host: it must lead to --listen, or port 80 to --acme-http-listen", "listen", s.Listen)
	}
}
