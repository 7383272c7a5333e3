package certs

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger is a logger for certmagic that writes to ours, whatever the level as
// what is of interest only where something does not work: what an operator must
// know, this package says itself.
func zapLogger(log *slog.Logger) *zap.Logger {
	return zap.New(&zapCore{log: log}, zap.WithFatalHook(zapcore.WriteThenPanic))
}

// zapCore is zap's way to a slog.Logger.
type zapCore struct{ log *slog.Logger }

// Enabled reports whether debugging is on.
func (c *zapCore) Enabled(zapcore.Level) bool {
	return c.log.Enabled(context.Background(), slog.LevelDebug)
}

// With adds attributes.
func (c *zapCore) With(fields []zapcore.Field) zapcore.Core {
	return &zapCore{c.log.With(attributes(fields)...)}
}

// Check adds this core to those that write an entry.
func (c *zapCore) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(e.Level) {
		return to
	}
	return to.AddCore(e, c)
}

// Write writes an entry.
func (c *zapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.log.Debug(e.Message, append(attributes(fields), "of", "certmagic."+e.LoggerName, "its_level", e.Level.String())...)
	return nil
}

// Sync has nothing to do.
func (c *zapCore) Sync() error { return nil }

func attributes(fields []zapcore.Field) []any {
	encoder := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(encoder)
	}
	var all []any
	for name, value := range encoder.Fields {
		all = append(all, name, value)
	}
	return all
}
