package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/e2e/guest"
	"github.com/easyfind-usb/easyfind/deploy/e2e/lab"
)

const module = "github.com/easyfind-usb/easyfind/"

// mustRun turns skips into failures, for machines that can run every test.
var mustRun = os.Getenv("EASYFIND_E2E_MUST_RUN") == "1"

// scratch contains what is built once for all tests.
var scratch string

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "end-to-end tests:", err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	if scratch, err = os.MkdirTemp("", "easyfind-e2e-"); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	return m.Run(), nil
}

// needs skips the test if this machine cannot run it.
func needs(t *testing.T, usable ...func() error) {
	t.Helper()
	for _, u := range usable {
		if err := u(); err != nil {
			if mustRun {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

// buildTimeout bounds what is built before the first test.
const buildTimeout = 15 * time.Minute

// programs are the built binaries and the image of the guests.
type programs struct {
	agent, rendezvous string
	image             *guest.Image
}

var buildPrograms = sync.OnceValues(func() (programs, error) {
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	p := programs{agent: filepath.Join(scratch, "easyfind"), rendezvous: filepath.Join(scratch, "easyfind-rendezvous")}
	return p, errors.Join(
		guest.GoBuild(ctx, p.agent, module+"agent/cmd/easyfind", "CGO_ENABLED=0"),
		guest.GoBuild(ctx, p.rendezvous, module+"rendezvous/cmd/easyfind-rendezvous", "CGO_ENABLED=0"),
	)
})

var buildImage = sync.OnceValues(func() (*guest.Image, error) {
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	return guest.Build(ctx, filepath.Join(cache, "easyfind-e2e"))
})

// built returns the programs and the image of the guests. It skips the test if this machine
// cannot run labs or guests.
func built(t *testing.T) programs {
	t.Helper()
	needs(t, guest.Usable)
	p := builtPrograms(t)
	image, err := buildImage()
	if err != nil {
		t.Fatal(err)
	}
	p.image = image
	return p
}

// builtPrograms returns only the programs, for a lab without guests.
func builtPrograms(t *testing.T) programs {
	t.Helper()
	needs(t, lab.Usable)
	p, err := buildPrograms()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// eventually calls check until it returns nil. After timeout the test fails with its last
// error.
func eventually(t *testing.T, timeout time.Duration, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		if last == nil || ctx.Err() == nil {
			last = err // a check that was cut short does not replace the error
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("after %v: %v", timeout, last)
		}
	}
}
