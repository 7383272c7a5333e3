package logging

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	quietFor = time.Minute
	maxLines = 256 // that are remembered
)

// repeats remembers what was written lately.
type repeats struct {
	mu   sync.Mutex
	seen map[string]*line // guarded by mu
}

type line struct {
	at      time.Time // when it was written
	skipped int       // times since
}

// quieting is a handler that hands on what repeats itself only once in a while.
type quieting struct {
	next    slog.Handler
	repeats *repeats
	context string // attributes and groups of the logger
}

// once returns a handler before next that leaves out the warnings and errors
// which it has handed on within the last minute, word by word: a disk that is
// full says so once, not with every request.
func once(next slog.Handler) slog.Handler {
	return quieting{next: next, repeats: &repeats{seen: map[string]*line{}}}
}

// Enabled asks the next handler.
func (h quieting) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

// Handle hands a record on, unless it is one too many.
func (h quieting) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return h.next.Handle(ctx, r)
	}
	var text strings.Builder
	text.WriteString(h.context + r.Level.String() + " " + r.Message)
	r.Attrs(func(a slog.Attr) bool {
		text.WriteString(" " + a.String())
		return true
	})
	skipped, write := h.repeats.note(text.String(), r.Time)
	if !write {
		return nil
	}
	if skipped > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("repeated", skipped))
	}
	return h.next.Handle(ctx, r)
}

// note says whether a line is to be written, and how often it was not before.
func (p *repeats) note(text string, now time.Time) (skipped int, write bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.seen[text]
	if l != nil && now.Sub(l.at) < quietFor {
		l.skipped++
		return 0, false
	}
	if l == nil {
		if len(p.seen) >= maxLines {
			clear(p.seen)
		}
		l = &line{}
		p.seen[text] = l
	}
	skipped, l.skipped, l.at = l.skipped, 0, now
	return skipped, true
}

// WithAttrs hands attributes on.
func (h quieting) WithAttrs(attrs []slog.Attr) slog.Handler {
	context := h.context
	for _, a := range attrs {
		context += a.String() + " "
	}
	return quieting{h.next.WithAttrs(attrs), h.repeats, context}
}

// WithGroup hands a group on.
func (h quieting) WithGroup(name string) slog.Handler {
	return quieting{h.next.WithGroup(name), h.repeats, h.context + name + "."}
}
