package link

import (
	"errors"
	"strings"
	"unicode"
)

// MaxReason bounds the reason that travels with Close, in bytes.
const MaxReason = 256

// ClosedError is why Run or Send ended when the other end closed the link.
type ClosedError struct {
	Reason string // the other end's words, cleaned by CleanReason
}

// Error says who closed the link and why.
func (e *ClosedError) Error() string {
	if e.Reason == "" {
		return "the other end closed the link"
	}
	return "the other end closed the link: " + e.Reason
}

// The ways in which a link ends by itself.
var (
	ErrClosed = errors.New("the link is closed")
	ErrSilent = errors.New("nothing came from the other end in time: the path is dead or the other end is")
)

// CleanReason cuts a reason to [MaxReason] bytes of printable text. What the
// other end wrote is for people to read, and must not move their cursor.
func CleanReason(s string) string {
	if len(s) > MaxReason {
		s = s[:MaxReason]
	}
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}
