package logging

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// hidden replaces a secret.
const hidden = "[redacted]"

// secretKeys are the keys whose values are always redacted.
var secretKeys = []string{
	"authorization", "cookie", "invite", "join_link", "key", "link", "passphrase", "password", "pin", "private_key",
	"secret", "token",
}

// shapes match secrets in any text.
var shapes = []struct {
	like *regexp.Regexp
	with string
}{
	// The part of a link after #: invites, pins, codes of admin links.
	{regexp.MustCompile(`(\b[a-z][a-z0-9+.-]*://[^\s"'#]+)#[^\s"']+`), "${1}#" + hidden},
	// The password in a URL of a database or a proxy. It may contain any character
	// that does not end it, even an @ that was not escaped.
	{regexp.MustCompile(`(\b[a-z][a-z0-9+.-]*://[^\s:/@"']*):[^\s/"']*@`), "${1}:" + hidden + "@"},
	// Tokens of peers and of administrators.
	{regexp.MustCompile(`\b(ef[a-z]?_)[A-Za-z0-9_-]{16,}`), "${1}" + hidden},
	{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`), "${1} " + hidden},
	{regexp.MustCompile(`(?i)\b(authorization|cookie)(["']?\s*[:=]\s*["']?)[^"'\r\n]+`), "${1}${2}" + hidden},
	{
		regexp.MustCompile(`(?i)\b(password|passwd|secret|token|invite|link|pin)(["']?\s*[:=]\s*["']?)[^\s"'&,;]+`),
		"${1}${2}" + hidden,
	},
	{regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)`), hidden},
}

// word matches what may be a secret without a name. Invites, codes of admin links
// and passwords of the relay are 16 or 32 random bytes in unpadded base64url.
var word = regexp.MustCompile(`[A-Za-z0-9_-]{22,}`)

const (
	short = 22 // characters of 16 bytes
	long  = 43 // characters of 32 bytes
)

// Scrub returns text with its secrets redacted.
func Scrub(text string) string {
	for _, s := range shapes {
		text = s.like.ReplaceAllString(text, s.with)
	}
	return word.ReplaceAllStringFunc(text, func(w string) string {
		if (len(w) == short || len(w) == long) && mixed(w) {
			return hidden
		}
		return w
	})
}

// mixed reports whether a word has letters of both cases and digits, as random
// bytes do. Words, hexadecimal numbers and PeerIDs do not.
func mixed(w string) bool {
	return strings.ContainsFunc(w, unicode.IsUpper) && strings.ContainsFunc(w, unicode.IsLower) &&
		strings.ContainsFunc(w, unicode.IsDigit)
}

// redactor is a handler that redacts secrets.
type redactor struct{ next slog.Handler }

// Redacted returns a handler that passes records to next with their secrets
// redacted, by key and by shape.
func Redacted(next slog.Handler) slog.Handler { return redactor{next} }

// Enabled asks the next handler.
func (h redactor) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

// Handle redacts a record and passes it on.
func (h redactor) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, Scrub(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(redact(a))
		return true
	})
	return h.next.Handle(ctx, clean)
}

// WithAttrs returns a handler whose records have attributes.
func (h redactor) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = redact(a)
	}
	return redactor{h.next.WithAttrs(clean)}
}

// WithGroup returns a handler whose records belong to a group.
func (h redactor) WithGroup(name string) slog.Handler { return redactor{h.next.WithGroup(name)} }

// redact returns an attribute with its secrets redacted.
func redact(a slog.Attr) slog.Attr {
	if slices.Contains(secretKeys, strings.ToLower(strings.ReplaceAll(a.Key, "-", "_"))) {
		return slog.String(a.Key, hidden)
	}
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindString:
		return slog.String(a.Key, Scrub(v.String()))
	case slog.KindGroup:
		var clean []slog.Attr
		for _, inner := range v.Group() {
			clean = append(clean, redact(inner))
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(clean...)}
	case slog.KindAny:
		return slog.String(a.Key, Scrub(fmt.Sprint(v.Any())))
	default: // numbers, times and the like
		return slog.Attr{Key: a.Key, Value: v}
	}
}
