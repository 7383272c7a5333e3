package certs

import (
	"crypto"
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

// Names of the files of the self-signed certificate in the data directory.
const (
	CertFile = "tls-cert.pem"
	KeyFile  = "tls-key.pem"
)

const selfSignedYears = 20

// selfSigned uses the certificate of the data directory, and creates it at the
// first start.
func (c *Certificates) selfSigned(from Config) error {
	c.origin = SelfSigned
	c.remedy = "remove " + CertFile + " and " + KeyFile +
		" from the data directory and restart; agents then need the new join link"
	cert, err := load(from.Data)
	if errors.Is(err, fs.ErrNotExist) {
		if err = create(from.Data, from.Host, from.Now()); err == nil {
			cert, err = load(from.Data)
		}
	}
	if err != nil {
		return fmt.Errorf("self-signed certificate in the data directory: %w", err)
	}
	c.use(&cert)
	return nil
}

// Pin returns the pin of a self-signed certificate, and nil for any other.
func (c *Certificates) Pin() *ident.Pin {
	if c.origin != SelfSigned {
		return nil
	}
	pin := ident.PinOf(c.current.Load().Leaf)
	return &pin
}

// load reads the self-signed certificate. It returns fs.ErrNotExist if the
// directory does not contain it.
func load(dir string) (tls.Certificate, error) {
	return tls.LoadX509KeyPair(filepath.Join(dir, CertFile), filepath.Join(dir, KeyFile))
}

// create writes a new self-signed certificate and its key.
func create(dir, host string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	cert, err := selfSign(key, host, "EasyFind rendezvous", now)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	// The key is written first: a certificate without its key would never be replaced.
	if err := writePEM(filepath.Join(dir, KeyFile), "PRIVATE KEY", private); err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, CertFile), "CERTIFICATE", cert.Certificate[0])
}

// selfSign returns a certificate for host.
func selfSign(key crypto.Signer, host, name string, now time.Time) (tls.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
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
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// writePEM replaces a file atomically. Only this user may read it.
func writePEM(path, kind string, der []byte) error {
	fresh := path + ".new"
	if err := os.WriteFile(fresh, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}
