// Package logging makes the log of a binary: structured, for a person at a
// terminal or for a collector, with every secret taken out and nothing said a
// hundred times over.
package logging

import (
	"io"
	"log/slog"

	"github.com/lmittmann/tint"
)

// Format is how log lines are written.
type Format string

// The formats.
const (
	Auto Format = "auto" // Text at a terminal, else JSON
	Text Format = "text"
	JSON Format = "json"
)

// Options are how a logger is.
type Options struct {
	Level    slog.Leveler
	Format   Format // "" is Auto
	Terminal bool   // a person reads it at a terminal
}

// New makes a logger that writes to w. Secrets that are logged all the same are
// replaced by "[redacted]", and a warning or error that repeats itself word by
// word is written once a minute, with how often it was not.
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
