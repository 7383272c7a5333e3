package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
)

// Holds reports whether a table is in a backup.
func Holds(table string) bool { return slices.Contains(tables, table) }

// Leaves reports whether a table is left out of a backup.
func Leaves(table string) bool { return left[table] != "" }

// End returns the last line of a stream for the lines before it.
func End(lines string) string {
	sum := sha256.Sum256([]byte(lines))
	raw, err := json.Marshal(endLine{true, strings.Count(lines, "\n"), hex.EncodeToString(sum[:])})
	if err != nil {
		panic(err)
	}
	return string(raw) + "\n"
}
