// Package logging provides the logger of a program: structured, as text for a
// terminal or as JSON. It redacts secrets and drops repeated errors.
package logging

import (
	"io"
	"log/slog"

	"github.com/lmittmann/tint"
)

// Format is the format of log records.
type Format string

// The formats.
const (
	Auto Format = "auto" // Text at a terminal, otherwise JSON
	Text Format = "text"
	JSON Format = "json"
)

// Options configures a logger.
type Options struct {
	Level    slog.Leveler
	Format   Format // "": Auto
	Terminal bool   // the output is a terminal
}

// New returns a logger that writes to w. It replaces secrets by "[redacted]". It
// writes an identical warning or error at most once a minute, with the number of
// those that it dropped.
func New(w io.Writer, o Options) *slog.Logger {
	plain := &slog.HandlerOptions{Level: o.Level}
	var h slog.Handler
	switch {
	case o.Format == Text && o.Terminal, o.Format != JSON && o.Format != Text && o.Terminal:
		h = tint.NewTextHandler(w, &tint.Options{Level: o.Level, TimeFormat: "15:04:05.000"})
	case o.Format == Text:
		h = slog.NewTextHandler(w, plain)
	default:
		h = slog.NewJSONHandler(w, plain)
	}
	return slog.New(once(Redacted(h)))
}
