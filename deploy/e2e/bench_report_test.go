package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/e2e/plot"
)

// measure is one kind of figure.
type measure struct {
	key, title, unit string
	about            string
	less             bool // less is better
	quantiles        bool // a sample has a population of values
}

// measures lists the kinds of figures in the order of the page.
var measures = []measure{
	{
		key: "read", title: "Reading a large file", unit: "MB/s",
		about: "Reads of 1 MiB one after the other, without the page cache, for " + largeTime + ".",
	},
	{
		key: "write", title: "Writing a large file", unit: "MB/s",
		about: "Writes of 1 MiB one after the other, without the page cache, for " + largeTime +
			". Each write ends when the disk has taken it.",
	},
	{
		key: "streams", title: "Reading at four places at once", unit: "MB/s",
		about: "Four programs read 1 MiB at a time, each in its own part of the disk. The sum of their rates.",
	},
	{
		key: "small", title: "Waiting for one block of 4 KiB", unit: "ms", less: true, quantiles: true,
		about: "Reads of 4 KiB at random places, one after the other: how long a program waits for one record.",
	},
	{
		key: "ready", title: "From the command to a readable disk", unit: "s", less: true,
		about: "The time from `usbip attach`, or from `easyfind use` with the `usbip attach` that follows it, " +
			"until a block can be read. For EasyFind it includes finding the peer and the handshake.",
	},
	{
		key: "filesout", title: "Copying small files from the disk", unit: "files/s",
		about: fmt.Sprintf("Up to %d files of %d KiB are copied from an ext4 file system, one after the other.",
			smallFiles, smallFile>>10),
	},
	{
		key: "filesin", title: "Copying small files to the disk", unit: "files/s",
		about: "The same files are copied to the disk. The time ends when all are on the disk (`sync`).",
	},
	{
		key: "mouse", title: "Mouse reports that arrive", unit: "%",
		about: fmt.Sprintf("The pointer is moved %d times a second. The device merges movements that nobody fetches "+
			"in time, so fewer reports mean a pointer that jumps.", mouseRate),
	},
	{
		key: "audio", title: "Sound that is played in time", unit: "%",
		about: "A sound card plays 48 kHz stereo. Below 100 % the sound stutters. Near 100 % is all there is to gain.",
	},
	{
		key: "serial", title: "One byte over a serial line and back", unit: "ms", less: true, quantiles: true,
		about: "A program writes a byte to an FTDI adapter and waits until the other end of the line sends it back.",
	},
}

// report holds the samples of the benchmark.
type report struct {
	ways       []way
	cells      []cell
	samples    map[cell]map[string][]sample // by the key of the way
	rtt        map[cell]float64             // ms, measured by ping
	kernel     string                       // of the guests
	congestion string                       // of the guests' TCP
	loads      []float64                    // of this machine, at the begin of each measurement
	took       time.Duration
}

func newReport(chosen []way) *report {
	return &report{ways: chosen, samples: map[cell]map[string][]sample{}, rtt: map[cell]float64{}}
}

// begin notes the round trip of a cell.
func (r *report) begin(c cell, rtt float64) {
	if r.samples[c] == nil {
		r.cells, r.samples[c], r.rtt[c] = append(r.cells, c), map[string][]sample{}, rtt
	}
	r.loads = append(r.loads, load())
}

// load returns the load average of the last minute (proc(5)), or 0.
func load() float64 {
	var one float64
	if raw, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Sscan(string(raw), &one) // stays 0 if it cannot be read
	}
	return one
}

func (r *report) add(c cell, w way, s sample) {
	r.samples[c][w.key] = append(r.samples[c][w.key], s)
}

// values returns all values of a measure. The values of all rounds form one population.
func (r *report) values(c cell, w way, m measure) []float64 {
	var all []float64
	for _, s := range r.samples[c][w.key] {
		all = append(all, s[m.key]...)
	}
	return all
}

// measured reports whether there is a value of a measure.
func (r *report) measured(m measure) bool {
	return slices.ContainsFunc(r.cells, func(c cell) bool {
		return slices.ContainsFunc(r.ways, func(w way) bool { return len(r.values(c, w, m)) > 0 })
	})
}

// quantile returns the value below which a part q of all values lies. It interpolates
// between two values.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	below := int(at)
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (at-float64(below))*(sorted[above]-sorted[below])
}

func rounded(v float64) string { return plot.Rounded(v) }

// factor returns by how much a way is better than stock usbip, or 0 if one of them was
// not measured.
func (r *report) factor(c cell, w way, m measure) float64 {
	ours, theirs := quantile(r.values(c, w, m), 0.5), quantile(r.values(c, ways[0], m), 0.5)
	if ours == 0 || theirs == 0 {
		return 0
	}
	if m.less {
		return theirs / ours
	}
	return ours / theirs
}

// tables returns a table for each measure, in Markdown.
func (r *report) tables() string {
	var b strings.Builder
	for _, m := range measures {
		if r.measured(m) {
			fmt.Fprintf(&b, "\n### %s\n\n%s\n", m.title, r.table(m))
		}
	}
	return b.String()
}

func (r *report) table(m measure) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| round trip, loss, rate |")
	for _, w := range r.ways {
		fmt.Fprintf(&b, " %s, %s |", w.name, m.unit)
		if w.transport != "" {
			fmt.Fprintf(&b, " better by |")
		}
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", strings.Count(b.String(), "|")-2) + "\n")
	for _, c := range r.cells {
		fmt.Fprintf(&b, "| %s |", c)
		for _, w := range r.ways {
			v := r.values(c, w, m)
			switch {
			case len(v) == 0:
				b.WriteString(" – |")
			case m.quantiles:
				fmt.Fprintf(&b, " %s (p99 %s) |", rounded(quantile(v, 0.5)), rounded(quantile(v, 0.99)))
			default:
				fmt.Fprintf(&b, " %s |", rounded(quantile(v, 0.5)))
			}
			switch f := r.factor(c, w, m); {
			case w.transport == "":
			case f == 0:
				b.WriteString(" – |")
			default:
				fmt.Fprintf(&b, " **%s ×** |", rounded(f))
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// chart returns the plot of a measure.
func (r *report) chart(m measure) plot.Chart {
	better := "more is better"
	if m.less {
		better = "less is better"
	}
	c := plot.Chart{Title: m.title + ", " + m.unit + " (" + better + ")", Unit: m.unit}
	for _, w := range r.ways {
		c.Series = append(c.Series, w.name)
	}
	for _, cell := range r.cells {
		row := plot.Row{Label: cell.String()}
		for _, w := range r.ways {
			row.Values = append(row.Values, quantile(r.values(cell, w, m), 0.5))
		}
		c.Rows = append(c.Rows, row)
	}
	return c
}

// worse lists what is worse than with stock usbip beyond noise, and by how much.
func (r *report) worse() []string {
	const noise = 1.1
	var all []string
	for _, c := range r.cells {
		for _, w := range r.ways {
			var words []string
			for _, m := range measures {
				if f := r.factor(c, w, m); w.transport != "" && f > 0 && f*noise < 1 {
					words = append(words, fmt.Sprintf("%s (%s ×)", m.title, rounded(f)))
				}
			}
			if len(words) > 0 {
				text := fmt.Sprintf("%s, %s: %s", c, w.name, strings.Join(words, ", "))
				all = append(all, wrapped(text, "  "))
			}
		}
	}
	return all
}

// summary returns a line for each measure with the range of its factors over all cells.
func (r *report) summary() []string {
	var all []string
	for _, m := range measures {
		var words []string
		for _, w := range r.ways {
			var factors []float64
			for _, c := range r.cells {
				if f := r.factor(c, w, m); w.transport != "" && f > 0 {
					factors = append(factors, f)
				}
			}
			if len(factors) > 0 {
				words = append(words, fmt.Sprintf("%s to %s (%s)",
					rounded(slices.Min(factors)), rounded(slices.Max(factors)), strings.ToUpper(w.transport)))
			}
		}
		if len(words) > 0 {
			all = append(all, "**"+m.title+"**: "+strings.Join(words, ", "))
		}
	}
	return all
}

// rounds returns the lowest and the highest number of measurements of a cell.
func (r *report) rounds() string {
	low, high := 0, 0
	for i, c := range r.cells {
		n := len(r.samples[c][r.ways[0].key])
		if i == 0 || n < low {
			low = n
		}
		high = max(high, n)
	}
	if low == high {
		return fmt.Sprint(low)
	}
	return fmt.Sprintf("%d to %d", low, high)
}

// wrapped breaks a text into lines of the page. Lines after the first begin with indent.
func wrapped(text, indent string) string {
	const width = 116
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case column == 0:
		case column+1+len(word) > width:
			b.WriteString("\n" + indent)
			column = len(indent)
		default:
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

// write writes the page of the guide and its plots to a directory.
func (r *report) write(t *testing.T, dir string) {
	t.Helper()
	page, err := template.ParseFiles(filepath.Join("testdata", "benchmarks.md.tmpl"))
	if err != nil {
		t.Fatal(err)
	}
	type section struct{ Title, Key, About, Table string }
	var sections []section
	files := map[string][]byte{}
	for _, m := range measures {
		if r.measured(m) {
			sections = append(sections, section{m.title, m.key, wrapped(m.about, ""), r.table(m)})
			files["benchmarks-"+m.key+".svg"] = r.chart(m).SVG()
		}
	}
	var b strings.Builder
	if err := page.Execute(&b, map[string]any{
		"Date": time.Now().Format(time.DateOnly), "Cores": runtime.NumCPU(), "Kernel": r.kernel,
		"Congestion": r.congestion, "Rounds": r.rounds(), "Took": r.took.Round(time.Second),
		"Load": rounded(quantile(r.loads, 0.5)), "Sections": sections, "Worse": r.worse(),
		"Cells": len(r.cells), "Summary": r.summary(),
	}); err != nil {
		t.Fatal(err)
	}
	files["benchmarks.md"] = []byte(b.String())
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("written to %s", dir)
}
