package listener

import (
	"log/slog"
	"time"

	"github.com/easyfind-usb/easyfind/internal/limits"
)

// Bounds of the warnings, so that a client that floods the listener does not flood the log.
const (
	warningsBurst     = 20
	warningsPerSecond = 1 // after the burst
)

// limitedLog writes a bounded number of warnings and counts the others.
type limitedLog struct {
	logger   *slog.Logger
	now      func() time.Time
	warnings *limits.Sampler
}

func newLimitedLog(logger *slog.Logger, now func() time.Time) *limitedLog {
	limit := limits.Limit{PerSecond: warningsPerSecond, Burst: warningsBurst}
	return &limitedLog{logger: logger, now: now, warnings: limits.NewSampler(limit)}
}

// Warn writes a record, unless there were too many. The next record says how many were skipped.
func (l *limitedLog) Warn(message string, args ...any) {
	skipped, ok := l.warnings.Take(l.now())
	if !ok {
		return
	}
	out := l.logger
	if skipped > 0 {
		out = l.logger.With("skipped", skipped)
	}
	out.Warn(message, args...)
}

// Debug writes a record for debugging.
func (l *limitedLog) Debug(message string, args ...any) {
	out := l.logger
	out.Debug(message, args...)
}
