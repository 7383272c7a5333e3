package path

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// iceLog logs the messages of the ICE library at debug level. The library warns of
// every unexpected packet, and anybody can send such packets. It also returns its
// failures as errors and states.
type iceLog struct{ log *slog.Logger }

// NewLogger returns the logger of one part of the library.
func (l iceLog) NewLogger(scope string) logging.LeveledLogger {
	return iceLog{l.log.With("part", scope)}
}

func (l iceLog) message(s string) { l.log.Debug("message of the ICE library", "reason", s) }

func (l iceLog) messagef(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.message(fmt.Sprintf(format, args...))
	}
}

// Trace discards the message: there are several for each packet.
func (l iceLog) Trace(string) {}

// Tracef discards the message.
func (l iceLog) Tracef(string, ...any) {}

// Debug logs at debug level, like all methods below.
func (l iceLog) Debug(s string) { l.message(s) }

// Debugf logs.
func (l iceLog) Debugf(format string, a ...any) { l.messagef(format, a...) }

// Info logs.
func (l iceLog) Info(s string) { l.message(s) }

// Infof logs.
func (l iceLog) Infof(format string, a ...any) { l.messagef(format, a...) }

// Warn logs.
func (l iceLog) Warn(s string) { l.message(s) }

// Warnf logs.
func (l iceLog) Warnf(format string, a ...any) { l.messagef(format, a...) }

// Error logs.
func (l iceLog) Error(s string) { l.message(s) }

// Errorf logs.
func (l iceLog) Errorf(format string, a ...any) { l.messagef(format, a...) }
