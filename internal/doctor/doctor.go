// Package doctor checks a rendezvous as a peer uses it. The server's own doctor
// runs it, and so does the doctor of an agent, which sees the server from outside.
// Each finding is one line: what was checked, the result, and what to do.
package doctor

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
)

// Verdict is the result of a check.
type Verdict string

// The verdicts.
const (
	OK      Verdict = "ok"
	Wrong   Verdict = "wrong"
	Unknown Verdict = "unknown" // it could not be checked, or does not matter here
)

// Finding is the result of one check.
type Finding struct {
	Check   string  `json:"check"` // such as "certificate"
	Verdict Verdict `json:"verdict"`
	Detail  string  `json:"detail"`
	Do      string  `json:"do,omitempty"` // what the operator should do
}

// Good returns a finding that something works.
func Good(check, format string, args ...any) Finding {
	return Finding{Check: check, Verdict: OK, Detail: fmt.Sprintf(format, args...)}
}

// Bad returns a finding that something is wrong, and what to do.
func Bad(check, do, format string, args ...any) Finding {
	return Finding{Check: check, Verdict: Wrong, Detail: fmt.Sprintf(format, args...), Do: do}
}

// Note returns a finding that is neither good nor bad. do may be "".
func Note(check, do, format string, args ...any) Finding {
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

// Write writes findings for a person: one line each, and below it what to do.
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

// parallel runs checks at the same time and returns their findings in order.
func parallel(ctx context.Context, checks ...func(context.Context) []Finding) []Finding {
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
