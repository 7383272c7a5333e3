//go:build unix

package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestServiceManagerIsNotified: the server notifies the service manager when it
// serves and when it stops.
func TestServiceManagerIsNotified(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	manager.SetReadDeadline(time.Now().Add(time.Minute))
	receives := func(want string) {
		t.Helper()
		got := make([]byte, 64)
		n, err := manager.Read(got)
		if err != nil || string(got[:n]) != want {
			t.Fatalf("received %q, %v, want %q", got[:n], err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var errs bytes.Buffer
	p := &program{ctx: ctx, in: strings.NewReader(""), out: io.Discard, err: &errs, notify: socket}
	done := make(chan int, 1)
	go func() {
		done <- p.run([]string{"--data", t.TempDir(), "--listen", "127.0.0.1:0", "--stun-listen", "127.0.0.1:0"})
	}()
	receives("READY=1")
	cancel()
	receives("STOPPING=1")
	if code := <-done; code != 0 {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	if err := notify(filepath.Join(t.TempDir(), "nobody"), "READY=1"); err == nil {
		t.Error("notify returns no error without a service manager")
	}
}
