package path

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// iceLog passes what the ICE library says on at debug level: it warns of every
// stray packet, which is anybody's to send, and its failures come back as
// errors and states anyway.
type iceLog struct{ log *slog.Logger }

// NewLogger returns the logger of one part of the library.
func (l iceLog) NewLogger(scope string) logging.LeveledLogger {
	return iceLog{l.log.With("part", scope)}
}

func (l iceLog) say(s string) { l.log.Debug(s) }

func (l iceLog) sayf(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug(fmt.Sprintf(format, args...))
	}
}

// Trace is not passed on: it has several lines for every packet.
func (l iceLog) Trace(string) {}

// Tracef is not passed on.
func (l iceLog) Tracef(string, ...any) {}

// Debug logs at debug level, as all that follow.
func (l iceLog) Debug(s string) { l.say(s) }

// Debugf logs.
func (l iceLog) Debugf(format string, a ...any) { l.sayf(format, a...) }

// Info logs.
func (l iceLog) Info(s string) { l.say(s) }

// Infof logs.
func (l iceLog) Infof(format string, a ...any) { l.sayf(format, a...) }

// Warn logs.
func (l iceLog) Warn(s string) { l.say(s) }

// Warnf logs.
func (l iceLog) Warnf(format string, a ...any) { l.sayf(format, a...) }

// Error logs.
func (l iceLog) Error(s string) { l.say(s) }

// Errorf logs.
func (l iceLog) Errorf(format string, a ...any) { l.sayf(format, a...) }
