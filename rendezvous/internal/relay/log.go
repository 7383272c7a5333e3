package relay

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/pion/logging"
)

// logEvery is the rate at which the TURN server's complaints are passed on: it
// makes one of each malformed datagram, which anybody can send.
const logEvery = 10 * time.Second

// logs makes the TURN server's loggers write to slog, one line in a while.
type logs struct {
	to  *slog.Logger
	now func() time.Time

	// Guarded by mu.
	mu      sync.Mutex
	last    time.Time
	dropped int
}

// NewLogger returns the logger of one part of the library.
func (l *logs) NewLogger(string) logging.LeveledLogger { return quiet{l} }

// quiet passes on warnings and errors only.
type quiet struct{ to *logs }

func (quiet) Trace(string)          {}
func (quiet) Tracef(string, ...any) {}
func (quiet) Debug(string)          {}
func (quiet) Debugf(string, ...any) {}
func (quiet) Info(string)           {}
func (quiet) Infof(string, ...any)  {}

// Warn and the others pass a line on, if it is time for one.
func (q quiet) Warn(msg string)                   { q.to.line("%s", msg) }
func (q quiet) Warnf(format string, args ...any)  { q.to.line(format, args...) }
func (q quiet) Error(msg string)                  { q.to.line("%s", msg) }
func (q quiet) Errorf(format string, args ...any) { q.to.line(format, args...) }

func (l *logs) line(format string, args ...any) {
	if !l.to.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	l.mu.Lock()
	now := l.now()
	if now.Sub(l.last) < logEvery {
		l.dropped++
		l.mu.Unlock()
		return
	}
	dropped := l.dropped
	l.last, l.dropped = now, 0
	l.mu.Unlock()
	l.to.Debug("TURN: "+fmt.Sprintf(format, args...), "more_of_this_kind", dropped)
}
