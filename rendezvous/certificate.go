package rendezvous

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Files of the self-signed certificate in the data directory.
const (
	certFile = "tls-cert.pem"
	keyFile  = "tls-key.pem"
)

const selfSignedYears = 20

// certificate loads the certificate that the settings name, or the self-signed
// one of the data directory, which it makes the first time. The pin is only of
// the latter.
func (s *settings) certificate() (tls.Certificate, *ident.Pin, error) {
	if s.TLSCert != "" {
		c, err := tls.LoadX509KeyPair(s.TLSCert, s.TLSKey)
		if err != nil {
			return c, nil, fmt.Errorf("certificate of --tls-cert and --tls-key: %w", err)
		}
		return c, nil, nil
	}
	cert, key := filepath.Join(s.Data, certFile), filepath.Join(s.Data, keyFile)
	c, err := tls.LoadX509KeyPair(cert, key)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeCertificate(cert, key, s.publicHost); err == nil {
			c, err = tls.LoadX509KeyPair(cert, key)
		}
	}
	if err != nil {
		return c, nil, fmt.Errorf("self-signed certificate in the data directory: %w", err)
	}
	pin := ident.PinOf(c.Leaf)
	return c, &pin, nil
}

// makeCertificate writes a new self-signed certificate for host and its key.
func makeCertificate(certPath, keyPath, host string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "EasyFind rendezvous"},
		NotBefore:    now.AddDate(0, 0, -1),
		NotAfter:     now.AddDate(selfSignedYears, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	// The key first: a certificate without its key would not be made anew.
	if err := writePEM(keyPath, "PRIVATE KEY", private); err != nil {
		return err
	}
	return writePEM(certPath, "CERTIFICATE", der)
}

func writePEM(path, kind string, der []byte) error {
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// writeFile replaces a file that only this user may read, wholly or not at all.
func writeFile(path string, content []byte) error {
	fresh := path + ".new"
	if err := os.WriteFile(fresh, content, 0o600); err != nil {
		return err
	}
	if err := likeItsDirectory(fresh, filepath.Dir(path)); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}
