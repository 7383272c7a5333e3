package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
)

// Holds and Leaves tell of the tables.
func Holds(table string) bool { return slices.Contains(tables, table) }

func Leaves(table string) bool { return left[table] != "" }

// End is the last line of a stream with these lines before.
func End(lines string) string {
	sum := sha256.Sum256([]byte(lines))
	raw, err := json.Marshal(endLine{true, strings.Count(lines, "\n"), hex.EncodeToString(sum[:])})
	if err != nil {
		panic(err)
	}
	return string(raw) + "\n"
}
