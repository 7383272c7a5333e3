// Package logtest records the output of a program for a test.
package logtest

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/easyfind-usb/easyfind/internal/waittest"
)

// Journal records output. It can be read while it is written: a log, or what a
// command prints. Its zero value is empty and ready. Its methods may be called
// concurrently.
type Journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *Journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

// String returns all output so far.
func (j *Journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// Logger returns a logger that writes to the journal as text, debug records too.
func (j *Journal) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Await waits until the output contains a text. The test fails with all output if
// that takes longer than waittest.Timeout.
func (j *Journal) Await(t testing.TB, text string) {
	t.Helper()
	if !waittest.Eventually(func() bool { return strings.Contains(j.String(), text) }) {
		t.Fatalf("%q was not written:\n%s", text, j)
	}
}
