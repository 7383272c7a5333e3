package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// narrator writes text for a person. It ignores write errors, because the demo also
// reports to programs.
type narrator struct {
	out      io.Writer
	terminal bool
	open     bool      // the last line is a progress line without an end
	shown    time.Time // when the last progress line was written
	quarter  int64     // the last quarter that progress has reported, 0 to 4
}

// line writes a line.
func (n *narrator) line(format string, args ...any) {
	n.eraseProgress()
	fmt.Fprintln(n.out, strings.TrimRight(fmt.Sprintf(format, args...), " "))
}

// printf writes a line of a step, which is indented.
func (n *narrator) printf(format string, args ...any) { n.line("   "+format, args...) }

// progress reports the progress of a long read. On a terminal it overwrites one line ten times a
// second. Elsewhere it writes a line for each quarter.
func (n *narrator) progress(done, total int64, format string, args ...any) {
	if !n.terminal {
		if quarter := 4 * done / total; quarter != n.quarter {
			n.quarter = quarter
			n.printf(format, args...)
		}
		return
	}
	const interval = 100 * time.Millisecond
	if time.Since(n.shown) < interval {
		return
	}
	n.shown, n.open = time.Now(), true
	fmt.Fprintf(n.out, "\r\x1b[K   "+format, args...)
}

// eraseProgress erases the progress line.
func (n *narrator) eraseProgress() {
	if n.open {
		fmt.Fprint(n.out, "\r\x1b[K")
		n.open = false
	}
}
