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

// Files are a certificate and its key, in PEM.
type Files struct{ Cert, Key string }

// maxPEM bounds such a file, in bytes.
const maxPEM = 1 << 20

// files is the source of a certificate that others renew.
type files struct {
	Files
	keeper *Certificates
	reload <-chan struct{}

	// Owned by run, after New.
	shown  [sha256.Size]byte // of the content that is shown
	failed [sha256.Size]byte // of the content that was of no use when it was last looked at
	told   bool              // that it was
}

// fromFiles shows the certificate of the files.
func (c *Certificates) fromFiles(from Config) error {
	c.origin = FromFiles
	c.remedy = "replace the files of --tls-cert and --tls-key; they are read again by themselves"
	f := &files{Files: *from.Files, keeper: c, reload: from.Reload}
	cert, sum, err := f.load()
	if err != nil {
		return fmt.Errorf("certificate of --tls-cert and --tls-key: %w", err)
	}
	f.shown, c.source = sum, f
	c.show(cert)
	return nil
}

// run looks at the files now and then, and when it is told to.
func (f *files) run(ctx context.Context) error {
	tick := time.NewTicker(f.keeper.look)
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

// read shows what is in the files now. What cannot be used is told when it was
// looked at twice, for between the two files' replacement they do not belong
// together; or at once where somebody waits for it.
func (f *files) read(asked bool) {
	cert, sum, err := f.load()
	if err == nil && sum == f.shown {
		f.failed, f.told = [sha256.Size]byte{}, false
		f.keeper.problem.Store(nil)
		if asked {
			f.keeper.log.Info("the certificate's files have not changed", "expires", f.keeper.shown.Load().Leaf.NotAfter.UTC())
		}
		return
	}
	if err != nil {
		if sum != f.failed {
			f.failed, f.told = sum, false
			if !asked {
				return
			}
		}
		if f.told && !asked {
			return
		}
		f.told = true
		f.keeper.trouble(err.Error())
		f.keeper.log.Error("the new certificate of --tls-cert and --tls-key cannot be used: the one before goes on", "reason", err)
		return
	}
	f.shown, f.failed, f.told = sum, [sha256.Size]byte{}, false
	f.keeper.show(cert)
	f.keeper.log.Info("the certificate's files have changed: the new one is in use", "expires", cert.Leaf.NotAfter.UTC())
}

// load reads the files. The sum is that of what could be read.
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
	if f.keeper.shown.Load() == nil || sum == f.shown {
		return &pair, sum, nil // better a certificate out of date than none
	}
	switch now := f.keeper.now(); {
	case now.After(pair.Leaf.NotAfter):
		err = fmt.Errorf("%s: it expired at %s", f.Cert, pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(pair.Leaf.NotBefore):
		err = fmt.Errorf("%s: it is good from %s only", f.Cert, pair.Leaf.NotBefore.UTC().Format(time.RFC3339))
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
