package certs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Files names the PEM files of a certificate and its key.
type Files struct{ Cert, Key string }

// maxPEM bounds the size of such a file, in bytes.
const maxPEM = 1 << 20

// files is the source of a certificate that another program renews.
type files struct {
	Files
	keeper *Certificates
	reload <-chan struct{}

	// Owned by run, after New.
	used     [sha256.Size]byte // digest of the content in use
	failed   [sha256.Size]byte // digest of the content that could not be used at the last check
	reported bool              // an error about failed was logged
}

// fromFiles loads the certificate of the files.
func (c *Certificates) fromFiles(from Config) error {
	c.origin = FromFiles
	c.remedy = "replace the files of --tls-cert and --tls-key; the server reads them again by itself"
	f := &files{Files: *from.Files, keeper: c, reload: from.Reload}
	cert, sum, err := f.load()
	if err != nil {
		return fmt.Errorf("certificate of --tls-cert and --tls-key: %w", err)
	}
	f.used, c.source = sum, f
	c.use(cert)
	return nil
}

// run checks the files regularly and on each reload.
func (f *files) run(ctx context.Context) error {
	tick := time.NewTicker(f.keeper.check)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			f.read(false)
		case <-f.reload:
			f.read(true)
		}
	}
}

func (f *files) answer(*tls.ClientHelloInfo) *tls.Config { return nil }

// read uses the certificate that is in the files now. If it cannot be used, read
// logs an error on the second check with the same content: while another program
// replaces the two files, they do not fit together for a moment. A requested
// reload logs the error at once.
func (f *files) read(requested bool) {
	cert, sum, err := f.load()
	switch {
	case err != nil:
		f.fail(sum, err, requested)
	case sum == f.used:
		f.failed, f.reported = [sha256.Size]byte{}, false
		f.keeper.problem.Store(nil)
		if requested {
			f.keeper.log.Info("the certificate's files have not changed", "expires", cert.Leaf.NotAfter.UTC())
		}
	default:
		f.used, f.failed, f.reported = sum, [sha256.Size]byte{}, false
		f.keeper.use(cert)
		f.keeper.log.Info("the certificate's files have changed; the new certificate is in use",
			"expires", cert.Leaf.NotAfter.UTC())
	}
}

// fail handles content that cannot be used.
func (f *files) fail(sum [sha256.Size]byte, err error, requested bool) {
	if sum != f.failed {
		f.failed, f.reported = sum, false
		if !requested {
			return
		}
	}
	if f.reported && !requested {
		return
	}
	f.reported = true
	f.keeper.fail(err.Error())
	f.keeper.log.Error("the new certificate of --tls-cert and --tls-key cannot be used; the previous one stays in use",
		"err", err)
}

// load reads the files. It also returns the digest of the content that it could
// read.
func (f *files) load() (*tls.Certificate, [sha256.Size]byte, error) {
	cert, err := readPEM(f.Cert)
	key, also := readPEM(f.Key)
	sum := sha256.Sum256(append(cert, key...))
	if err := errors.Join(err, also); err != nil {
		return nil, sum, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, sum, fmt.Errorf("%s and %s: %w", f.Cert, f.Key, err)
	}
	if f.keeper.current.Load() == nil || sum == f.used {
		return &pair, sum, nil // at the start an expired certificate is better than none
	}
	switch now := f.keeper.now(); {
	case now.After(pair.Leaf.NotAfter):
		err = fmt.Errorf("%s: it expired at %s", f.Cert, pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(pair.Leaf.NotBefore):
		err = fmt.Errorf("%s: it is valid only from %s", f.Cert, pair.Leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return &pair, sum, err
}

func readPEM(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err == nil && len(raw) > maxPEM {
		err = fmt.Errorf("%s: larger than %d bytes: is it the right file?", path, maxPEM)
	}
	return bytes.TrimSpace(raw), err
}
