package registry

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/easyfind-usb/easyfind/proto/api"
)

// ValidLabel reports whether a label is one line of at most api.MaxLabel
// printable characters.
func ValidLabel(label string) bool {
	return utf8.ValidString(label) && utf8.RuneCountInString(label) <= api.MaxLabel && Printable(label)
}

// Printable reports whether a text holds only printable characters, without
// control and formatting characters, which could deceive a reader or break a
// terminal.
func Printable(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) })
}
