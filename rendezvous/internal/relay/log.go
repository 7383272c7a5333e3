package relay

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/pion/logging"

	"github.com/easyfind-usb/easyfind/internal/limits"
)

// serverLogInterval is the time between two records of the TURN server. The server logs every malformed message, and
// anybody can send those.
const serverLogInterval = 10 * time.Second

// serverLog passes warnings and errors of the TURN server to slog for debugging, one record per serverLogInterval.
type serverLog struct {
	logger  *slog.Logger
	now     func() time.Time
	sampler *limits.Sampler
}

func newServerLog(logger *slog.Logger, now func() time.Time) *serverLog {
	limit := limits.Limit{PerSecond: 1 / serverLogInterval.Seconds(), Burst: 1}
	return &serverLog{logger: logger, now: now, sampler: limits.NewSampler(limit)}
}

// NewLogger returns the logger of one part of the TURN server.
func (l *serverLog) NewLogger(string) logging.LeveledLogger { return leveledLogger{l} }

// leveledLogger is a logger of the TURN server. It ignores levels below warnings.
type leveledLogger struct{ to *serverLog }

func (leveledLogger) Trace(string)          {}
func (leveledLogger) Tracef(string, ...any) {}
func (leveledLogger) Debug(string)          {}
func (leveledLogger) Debugf(string, ...any) {}
func (leveledLogger) Info(string)           {}
func (leveledLogger) Infof(string, ...any)  {}

// Warn and the other methods pass a record on, if there were not too many.
func (l leveledLogger) Warn(msg string)                   { l.to.write("%s", msg) }
func (l leveledLogger) Warnf(format string, args ...any)  { l.to.write(format, args...) }
func (l leveledLogger) Error(msg string)                  { l.to.write("%s", msg) }
func (l leveledLogger) Errorf(format string, args ...any) { l.to.write(format, args...) }

func (l *serverLog) write(format string, args ...any) {
	if !l.logger.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	if skipped, ok := l.sampler.Take(l.now()); ok {
		l.logger.Debug("the TURN server reports a problem", "reason", fmt.Sprintf(format, args...), "skipped", skipped)
	}
}
