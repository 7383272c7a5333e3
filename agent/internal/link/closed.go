package link

import (
	"errors"
	"strings"
	"unicode"
)

// MaxReason bounds the reason that travels with Close, in bytes.
const MaxReason = 256

// ClosedError is the error of Run and Send after the peer has closed the link.
type ClosedError struct {
	Reason string // the peer's text, cleaned by CleanReason
}

// Error returns a sentence with the peer's reason.
func (e *ClosedError) Error() string {
	if e.Reason == "" {
		return "the peer closed the link"
	}
	return "the peer closed the link: " + e.Reason
}

// The errors of a link that has ended for another reason.
var (
	ErrClosed = errors.New("the link is closed")
	ErrSilent = errors.New("no data arrived from the peer in time: the path or the peer is down")
)

// CleanReason cuts a reason to [MaxReason] bytes and removes all characters
// that are not printable, such as the control characters of a terminal.
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
