package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// narrator writes for a person. Failing to is no failure of the demo.
type narrator struct {
	out      io.Writer
	terminal bool
	open     bool      // a line of progress stands there
	shown    time.Time // the last one
	quarter  int64     // of what was done when a line was written; 0 to 4
}

// line writes a line.
func (n *narrator) line(format string, args ...any) {
	n.settle()
	fmt.Fprintln(n.out, strings.TrimRight(fmt.Sprintf(format, args...), " "))
}

// say writes a line of a step.
func (n *narrator) say(format string, args ...any) { n.line("   "+format, args...) }

// progress says how far something is: on a terminal ten times a second, over
// the line before; elsewhere with a line for each quarter.
func (n *narrator) progress(done, all int64, format string, args ...any) {
	if !n.terminal {
		if quarter := 4 * done / all; quarter != n.quarter {
			n.quarter = quarter
			n.say(format, args...)
		}
		return
	}
	const every = 100 * time.Millisecond
	if time.Since(n.shown) < every {
		return
	}
	n.shown, n.open = time.Now(), true
	fmt.Fprintf(n.out, "\r\x1b[K   "+format, args...)
}

// settle makes room where progress was shown.
func (n *narrator) settle() {
	if n.open {
		fmt.Fprint(n.out, "\r\x1b[K")
		n.open = false
	}
}
