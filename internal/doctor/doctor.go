// Package doctor checks a rendezvous as a peer meets it, from wherever it runs:
// the server's own doctor, and the doctor of an agent, which sees it from
// outside. What it finds is one line each: what was looked at, how it is, and
// what to do.
package doctor

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
)

// Verdict is how something is.
type Verdict string

// The verdicts.
const (
	OK      Verdict = "ok"
	Wrong   Verdict = "wrong"
	Unknown Verdict = "unknown" // it could not be checked, or does not matter here
)

// Finding is one thing that was looked at.
type Finding struct {
	Check   string  `json:"check"` // as "certificate"
	Verdict Verdict `json:"verdict"`
	Detail  string  `json:"detail"`       // how it is
	Do      string  `json:"do,omitempty"` // what to do about it
}

// Good, Bad and Open make findings.
func Good(check, format string, args ...any) Finding {
	return Finding{Check: check, Verdict: OK, Detail: fmt.Sprintf(format, args...)}
}

// Bad is something wrong, and what to do.
func Bad(check, do, format string, args ...any) Finding {
	return Finding{Check: check, Verdict: Wrong, Detail: fmt.Sprintf(format, args...), Do: do}
}

// Open is something that is left open.
func Open(check, do, format string, args ...any) Finding {
	return Finding{Check: check, Verdict: Unknown, Detail: fmt.Sprintf(format, args...), Do: do}
}

// Failed reports whether anything is wrong.
func Failed(findings []Finding) bool {
	for _, f := range findings {
		if f.Verdict == Wrong {
			return true
		}
	}
	return false
}

var marks = map[Verdict]string{OK: "✓", Wrong: "✗", Unknown: "–"}

// Write writes findings for a person, one line each, and what to do below.
func Write(w io.Writer, findings []Finding) error {
	width := 0
	for _, f := range findings {
		width = max(width, len(f.Check))
	}
	var text strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&text, "%s %-*s  %s\n", marks[f.Verdict], width, f.Check, f.Detail)
		if f.Do != "" {
			fmt.Fprintf(&text, "  %-*s  → %s\n", width, "", f.Do)
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// together runs checks at once and returns their findings in order.
func together(ctx context.Context, checks ...func(context.Context) []Finding) []Finding {
	found := make([][]Finding, len(checks))
	var all sync.WaitGroup
	for i, check := range checks {
		all.Go(func() { found[i] = check(ctx) })
	}
	all.Wait()
	var list []Finding
	for _, f := range found {
		list = append(list, f...)
	}
	return list
}
