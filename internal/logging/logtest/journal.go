// Package logtest keeps what a program writes, for a test to read meanwhile.
package logtest

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/easyfind-usb/easyfind/internal/waittest"
)

// Journal is an output that is read while it is written: a log, or what a
// command prints. Its zero value is empty and ready; it is safe for use by many
// goroutines.
type Journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *Journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

// String is all that was written so far.
func (j *Journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// Logger writes to it as text, from the level of debugging on.
func (j *Journal) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Await waits until it holds a text. Where that does not come within
// waittest.Timeout, the test fails with all that was written.
func (j *Journal) Await(t testing.TB, text string) {
	t.Helper()
	if !waittest.Eventually(func() bool { return strings.Contains(j.String(), text) }) {
		t.Fatalf("%q was not written:\n%s", text, j)
	}
}
