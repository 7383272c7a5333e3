package registry

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Digest is the SHA-256 of a secret. The secret itself is not kept.
type Digest [sha256.Size]byte

// TokenPrefix is the public beginning of a token. A store finds the token by it.
type TokenPrefix [8]byte

// String returns the prefix in hexadecimal, as people see it.
func (p TokenPrefix) String() string { return hex.EncodeToString(p[:]) }

// TokenMark is the beginning of a token's text. It separates the kinds of
// tokens, so that a token of one kind is never accepted as another.
type TokenMark string

// The marks.
const (
	PeerMark   TokenMark = "ef_"
	AdminMark  TokenMark = "efa_"
	SignInMark TokenMark = "efs_"
)

// TokenBytes are the random bytes of a token: the public prefix and a 256-bit
// secret.
type TokenBytes [len(TokenPrefix{}) + 32]byte

// Token returns the text of the token: the mark, and the bytes in base64url.
func (m TokenMark) Token(raw TokenBytes) (token string, prefix TokenPrefix, hash Digest) {
	token = string(m) + base64.RawURLEncoding.EncodeToString(raw[:])
	copy(prefix[:], raw[:])
	return token, prefix, sha256.Sum256([]byte(token))
}

// Has reports whether a text begins with the mark.
func (m TokenMark) Has(token string) bool { return strings.HasPrefix(token, string(m)) }

// Prefix returns the public prefix of a token with the mark. Errors:
// ErrUnauthenticated for every other text.
func (m TokenMark) Prefix(token string) (prefix TokenPrefix, err error) {
	text, ok := strings.CutPrefix(token, string(m))
	if !ok || len(token) > api.MaxToken {
		return prefix, ErrUnauthenticated
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) != len(TokenBytes{}) {
		return prefix, ErrUnauthenticated
	}
	copy(prefix[:], raw)
	return prefix, nil
}

// Matches reports in constant time whether the digest is that of a token.
func (d Digest) Matches(token string) bool {
	hash := sha256.Sum256([]byte(token))
	return ident.Equal(hash[:], d[:])
}
