package peers

import (
	"encoding/base32"
	"strings"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Characters of an ID's text. The text of an ID has checksum characters; the
// first follows the first 13 characters.
const (
	idLetters       = 52 // without checksum characters
	lettersToSearch = 13
)

// Search returns the query for a text that a person typed: part of a name, or an
// ID, or the beginning of an ID.
func Search(text string, limit int) Query {
	q := Query{Limit: limit, Name: text}
	if id, err := ident.ParsePeerID(text); err == nil {
		q.Name, q.First, q.Last = "", id, id
		return q
	}
	letters := strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(text))
	if letters == "" {
		return q
	}
	letters = letters[:min(len(letters), lettersToSearch)]
	encoding := base32.StdEncoding.WithPadding(base32.NoPadding)
	first, err := encoding.DecodeString(letters + strings.Repeat("A", idLetters-len(letters)))
	if err != nil {
		return q
	}
	last, err := encoding.DecodeString(letters + strings.Repeat("7", idLetters-len(letters)))
	if err != nil {
		return q
	}
	copy(q.First[:], first)
	copy(q.Last[:], last)
	return q
}
