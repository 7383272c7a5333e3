package logging

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/internal/limits"
)

const (
	repeatInterval = time.Minute // between two records with the same text
	maxTexts       = 256         // remembered
)

// repeatFilter is a handler that passes an identical warning or error once per
// repeatInterval.
type repeatFilter struct {
	next    slog.Handler
	texts   *limits.Samplers[string]
	context string // attributes and groups of the logger
}

// once returns a handler that passes records to next, except warnings and errors
// that it has passed within the last minute with the same message and attributes:
// a full disk is reported once, not with every request.
func once(next slog.Handler) slog.Handler {
	limit := limits.Limit{PerSecond: 1 / repeatInterval.Seconds(), Burst: 1}
	return repeatFilter{next: next, texts: limits.NewSamplers[string](limit, maxTexts)}
}

// Enabled asks the next handler.
func (h repeatFilter) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

// Handle passes a record on, unless it repeats an earlier one.
func (h repeatFilter) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return h.next.Handle(ctx, r)
	}
	var text strings.Builder
	text.WriteString(h.context + r.Level.String() + " " + r.Message)
	r.Attrs(func(a slog.Attr) bool {
		text.WriteString(" " + a.String())
		return true
	})
	skipped, ok := h.texts.Take(text.String(), r.Time)
	if !ok {
		return nil
	}
	if skipped > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("repeated", skipped))
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs returns a handler whose records have attributes.
func (h repeatFilter) WithAttrs(attrs []slog.Attr) slog.Handler {
	context := h.context
	for _, a := range attrs {
		context += a.String() + " "
	}
	return repeatFilter{h.next.WithAttrs(attrs), h.texts, context}
}

// WithGroup returns a handler whose records belong to a group.
func (h repeatFilter) WithGroup(name string) slog.Handler {
	return repeatFilter{h.next.WithGroup(name), h.texts, h.context + name + "."}
}
