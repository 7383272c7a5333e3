package virtual

import (
	"fmt"
	"strings"
)

// Key is a key of a keyboard ("HID Usage Tables", 1.4, section 10) with the
// modifiers that are held down while it is pressed.
type Key struct {
	Usage     uint8
	Modifiers uint8 // bits ModControl to ModMeta
}

// Bits of Key.Modifiers.
const (
	ModControl uint8 = 1 << iota
	ModShift
	ModAlt
	ModMeta
)

// MaxText is the greatest length of a text for [Keyboard.Type], in bytes.
const MaxText = 4096

// plain and shifted hold the characters of usages 0x04 to 0x38 on a US layout,
// without and with shift. NUL means that the key has no character.
const (
	plain   = "abcdefghijklmnopqrstuvwxyz1234567890\n\x1b\b\t -=[]\\\x00;'`,./"
	shifted = "ABCDEFGHIJKLMNOPQRSTUVWXYZ!@#$%^&*()\x00\x00\x00\x00\x00_+{}|\x00:\"~<>?"
)

// typableKeys returns the keys that type text. It omits characters without a
// key, and everything after MaxText bytes.
func typableKeys(text string) []Key {
	var keys []Key
	for _, r := range text[:min(len(text), MaxText)] {
		if key, err := keysFor(string(r)); err == nil {
			keys = append(keys, key...)
		}
	}
	return keys
}

// keysFor returns the keys that type text.
func keysFor(text string) ([]Key, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("virtual keyboard: the text of %d bytes is longer than %d bytes", len(text), MaxText)
	}
	keys := make([]Key, 0, len(text))
	for _, r := range text {
		at, mods := strings.IndexRune(plain, r), uint8(0)
		if at < 0 {
			at, mods = strings.IndexRune(shifted, r), ModShift
		}
		if at < 0 || r == 0 {
			return nil, fmt.Errorf("virtual keyboard: a US keyboard has no key for %q", r)
		}
		keys = append(keys, Key{Usage: 0x04 + uint8(at), Modifiers: mods})
	}
	return keys, nil
}
