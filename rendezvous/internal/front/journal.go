package front

import (
	"log/slog"
	"sync"
	"time"
)

// Bounds of the log: whoever floods the door does not flood the log.
const (
	linesBurst  = 20
	linesPeriod = time.Second // between two lines beyond the burst
)

// journal logs so many lines and counts the others.
type journal struct {
	to  *slog.Logger
	now func() time.Time

	// Guarded by mu.
	mu      sync.Mutex
	left    float64
	filled  time.Time
	skipped int
}

func newJournal(to *slog.Logger, now func() time.Time) *journal {
	return &journal{to: to, now: now, left: linesBurst, filled: now()}
}

// warn logs what an operator should know of.
func (j *journal) warn(message string, args ...any) {
	j.mu.Lock()
	now := j.now()
	j.left = min(linesBurst, j.left+max(0, now.Sub(j.filled).Seconds())/linesPeriod.Seconds())
	j.filled = now
	if j.left < 1 {
		j.skipped++
		j.mu.Unlock()
		return
	}
	j.left--
	skipped := j.skipped
	j.skipped = 0
	j.mu.Unlock()
	if skipped > 0 {
		args = append(args, "not_logged", skipped)
	}
	j.to.Warn(message, args...)
}

// debug logs what is every day's.
func (j *journal) debug(message string, args ...any) { j.to.Debug(message, args...) }
