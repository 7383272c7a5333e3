package tunnel

import "unicode/utf8"

// MaxReason bounds the text of a Goodbye, an AttachFailure and a DetachReply, in bytes.
const MaxReason = 256

// Goodbye announces that its sender is about to close the link. It is the reason, as a sentence for a person.
type Goodbye string

// GoodbyeStopping ends the session and not only the link: the sender's agent stops and keeps no state.
const GoodbyeStopping Goodbye = "the agent is stopping"

// Encode returns the body of a KindGoodbye frame.
func (g Goodbye) Encode() []byte { return []byte(clip(string(g), MaxReason)) }

// DecodeGoodbye reads the body of a KindGoodbye frame.
func DecodeGoodbye(body []byte) (Goodbye, error) {
	if len(body) > MaxReason || !utf8.Valid(body) {
		return "", malformed("Goodbye with a reason of %d bytes that is too long or no UTF-8", len(body))
	}
	return Goodbye(body), nil
}

// clip returns s as valid UTF-8 of at most n bytes.
func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
		for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
			s = s[:len(s)-1]
		}
		if r, size := utf8.DecodeLastRuneInString(s); r == utf8.RuneError && size <= 1 && len(s) > 0 {
			s = s[:len(s)-1]
		}
	}
	if !utf8.ValidString(s) {
		return clip(string([]rune(s)), n)
	}
	return s
}
