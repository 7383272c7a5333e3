package certs

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger returns a logger for certmagic that writes to log. All records have
// the level debug: this package itself logs what an operator must know.
func zapLogger(log *slog.Logger) *zap.Logger {
	return zap.New(&zapCore{log: log}, zap.WithFatalHook(zapcore.WriteThenPanic))
}

// zapCore forwards the records of zap to a slog.Logger.
type zapCore struct{ log *slog.Logger }

// Enabled reports whether debug records are logged.
func (c *zapCore) Enabled(zapcore.Level) bool {
	return c.log.Enabled(context.Background(), slog.LevelDebug)
}

// With returns a core that adds attributes to each record.
func (c *zapCore) With(fields []zapcore.Field) zapcore.Core {
	return &zapCore{c.log.With(attributes(fields)...)}
}

// Check adds this core to the cores that write an entry.
func (c *zapCore) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(e.Level) {
		return to
	}
	return to.AddCore(e, c)
}

// Write writes an entry.
func (c *zapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	all := append(attributes(fields), "part", "certmagic."+e.LoggerName, "level_there", e.Level.String())
	c.log.Log(context.Background(), slog.LevelDebug, e.Message, all...)
	return nil
}

// Sync does nothing: records are not buffered.
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
