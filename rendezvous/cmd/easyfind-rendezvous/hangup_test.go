//go:build unix

package main

import (
	"bufio"
	"context"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestHangupReloadsCertificate: SIGHUP makes the server read the certificate's files
// again. It does not end the server.
func TestHangupReloadsCertificate(t *testing.T) {
	data := t.TempDir()
	serving(t, data)() // creates a certificate
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log, err := io.Pipe()
	p := &program{ctx: ctx, in: strings.NewReader(""), out: io.Discard, err: err}
	done := make(chan int, 1)
	go func() {
		done <- p.run([]string{
			"--data", t.TempDir(), "--listen", "127.0.0.1:0", "--stun-listen", "127.0.0.1:0",
			"--tls-cert", filepath.Join(data, "tls-cert.pem"), "--tls-key", filepath.Join(data, "tls-key.pem"),
		})
		err.Close()
	}()
	lines := bufio.NewScanner(log)
	await := func(what string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), what) {
				return
			}
		}
		t.Fatalf("the log does not contain: %s", what)
	}
	await("the rendezvous is serving")
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	await("the certificate's files have not changed")
	cancel()
	go io.Copy(io.Discard, log)
	if code := <-done; code != 0 {
		t.Errorf("exit code %d", code)
	}
}
