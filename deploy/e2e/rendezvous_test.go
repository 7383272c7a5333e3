package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/e2e/lab"
)

// joinLink matches the link that the rendezvous prints at its start.
var joinLink = regexp.MustCompile(`https://[0-9.]+:[0-9]+/?#\S*[A-Za-z0-9_=-]`)

// rendezvous is a rendezvous that runs in the lab's public node.
type rendezvous struct {
	link string // the join link
	stop func() // ends it; further calls have no effect
}

// startRendezvous runs the rendezvous until the test ends.
func startRendezvous(t *testing.T, l *lab.Lab, p programs) rendezvous {
	t.Helper()
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		code, err := node{l, "srv"}.Stream(ctx, nil, log, log, p.rendezvous,
			"--listen", ":8443", "--public-url", "https://198.51.100.10:8443", "--data", filepath.Join(dir, "data"),
			"--stun-listen", ":3478", "--relay-ip", "198.51.100.10",
			"--relay-allow", "198.51.100.0/24", "--relay-allow", "203.0.113.0/24")
		if err := errors.Join(err, log.Close()); err != nil && ctx.Err() == nil {
			t.Errorf("the rendezvous ended: %d, %v", code, err)
		}
	}()
	r := rendezvous{stop: func() { cancel(); <-ended }}
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("log of the rendezvous:\n%s", tail(log.Name()))
		}
	})
	eventually(t, time.Minute, func(context.Context) error {
		raw, err := os.ReadFile(log.Name())
		if err != nil {
			return err
		}
		if r.link = string(joinLink.Find(raw)); r.link == "" {
			return errors.New("the rendezvous prints no join link: " + string(raw))
		}
		return nil
	})
	return r
}
