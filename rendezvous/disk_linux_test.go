package rendezvous

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/easyfind-usb/easyfind/internal/logging"
	"github.com/easyfind-usb/easyfind/internal/logging/logtest"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/api"
)

// ownDisk is the environment variable that names the directory of a small file system.
// It is set when the test runs in its own mount namespace.
const ownDisk = "EASYFIND_TEST_DISK"

// onOwnDisk runs the test again in its own mount namespace, in which a small file system
// is mounted at the directory that it returns. It returns false in the first process,
// after that run.
func onOwnDisk(t *testing.T) (dir string, here bool) {
	t.Helper()
	if dir := os.Getenv(ownDisk); dir != "" {
		// Mounts of this process are not visible outside.
		if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=6m"); err != nil {
			t.Fatal(err)
		}
		return dir, true
	}
	if os.Geteuid() != 0 {
		if os.Getenv("EASYFIND_E2E_MUST_RUN") == "1" {
			t.Fatal("mounting a small file system needs root")
		}
		t.Skip("mounting a small file system needs root")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), ownDisk+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("%v:\n%s", err, out)
	}
	return "", false
}

// fill writes a file until no space is left.
func fill(t *testing.T, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 64<<10); len(block) > 0; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFullDisk: writes are refused with a code and the time of the next attempt. The log
// reports it once, signalling works, and everything works again when there is space.
func TestFullDisk(t *testing.T) {
	dir, here := onOwnDisk(t)
	if !here {
		return
	}
	c := local(t)
	c.Data = filepath.Join(dir, "data")
	log := &logtest.Journal{}
	i := startLogging(t, c, logging.New(log, logging.Options{Level: slog.LevelInfo}))
	a, b := newPeer(t, i.link, 1).connect(), newPeer(t, i.link, 2).connect()
	b.allow(a)
	status := func(p *peer, path string) int {
		status, _ := p.asks(http.MethodGet, path, nil)
		return status
	}
	waittest.Until(t, "the server is ready", func() bool { return status(a, api.PathReady) == http.StatusOK })

	filler := filepath.Join(dir, "filler")
	fill(t, filler)
	var problem api.Problem
	waittest.Until(t, "a write is refused", func() bool {
		status, answer := a.asks(http.MethodPut, api.AllowedPath(b.key.ID()), nil)
		if status == http.StatusNoContent || status == http.StatusOK {
			a.asks(http.MethodDelete, api.AllowedPath(b.key.ID()), nil)
			return false
		}
		return json.Unmarshal(answer, &problem) == nil && status == http.StatusServiceUnavailable
	})
	if problem.Code != api.CodeUnavailable {
		t.Errorf("refused with %+v", problem)
	}
	for range 20 {
		a.asks(http.MethodPut, api.AllowedPath(b.key.ID()), nil)
	}
	signals(t, a, b, "while the disk is full")
	if status(a, api.PeerPath(b.key.ID())) != http.StatusOK {
		t.Error("known data cannot be read")
	}
	waittest.Until(t, "the server is not ready", func() bool {
		return status(a,
			api.PathReady) == http.StatusServiceUnavailable
	})
	if status(a, api.PathLive) != http.StatusOK {
		t.Error("the server is not alive")
	}
	saysSparingly(t, log.String(), "full")

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the server is ready again", func() bool { return status(a, api.PathReady) == http.StatusOK })
	a.allow(b)
	newPeer(t, i.link, 3)
	signals(t, a, b, "and after")
}

// saysSparingly checks that a log contains a word, and no message with it more than a few
// times.
func saysSparingly(t *testing.T, log, word string) {
	t.Helper()
	lines := map[string]int{}
	for line := range strings.Lines(log) {
		var l struct{ Msg string }
		if json.Unmarshal([]byte(line), &l) == nil && strings.Contains(line, word) {
			lines[l.Msg]++
		}
	}
	if len(lines) == 0 {
		t.Errorf("the log does not contain %q", word)
	}
	for msg, n := range lines {
		if n > 3 { // once for each kind of write
			t.Errorf("the log contains %d times: %s", n, msg)
		}
	}
}

// TestReadOnlyDisk: the server does not start with a data directory that it cannot write,
// with or without a database.
func TestReadOnlyDisk(t *testing.T) {
	dir, here := onOwnDisk(t)
	if !here {
		return
	}
	c := local(t)
	c.Data = filepath.Join(dir, "data")
	start(t, c).stop()
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"there": c.Data, "not there": filepath.Join(dir, "other")} {
		c.Data = data
		s, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "read-only") ||
			!strings.Contains(err.Error(), "let this user write there") {
			t.Errorf("a read-only directory that is %s: %v", name, err)
		}
	}
}
