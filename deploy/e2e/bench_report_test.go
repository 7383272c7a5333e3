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
)

// report holds the samples of the benchmark.
type report struct {
	cells      []cell
	samples    map[cell]map[string][]sample // by the name of the way
	rtt        map[cell]float64             // ms, measured by ping
	local      sample                       // on the host itself
	kernel     string                       // of the guests
	congestion string                       // of the guests' TCP
	took       time.Duration
}

func (s sample) String() string {
	f := figuresOf([]sample{s})
	text := fmt.Sprintf(
		"read %s MB/s, 4 KiB %s / %s ms (median / p99 of %d)",
		rounded(f.sequential),
		rounded(f.median),
		rounded(f.p99),
		len(s.small),
	)
	if s.appears > 0 {
		text += fmt.Sprintf(
			", ready after %s s (command %s s), over %s",
			rounded(s.appears),
			rounded(s.command),
			s.path,
		)
	}
	return text
}

// figures are the values of one way in one cell of the table.
type figures struct{ sequential, median, p99, appears float64 }

// figuresOf returns the medians of samples. The small reads of all samples form one
// population.
func figuresOf(samples []sample) figures {
	var sequential, appears, small []float64
	for _, s := range samples {
		sequential, appears, small = append(
			sequential,
			s.sequential,
		), append(
			appears,
			s.appears,
		), append(
			small,
			s.small...)
	}
	return figures{quantile(sequential, 0.5), quantile(small, 0.5), quantile(small, 0.99), quantile(appears, 0.5)}
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

// rounded formats three significant digits; more would suggest a precision that the
// measurement does not have.
func rounded(v float64) string {
	switch {
	case v >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case v >= 9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func ratio(ours, theirs float64) string {
	if theirs == 0 {
		return "-"
	}
	return rounded(ours / theirs)
}

// tables returns the table in Markdown.
func (r *report) tables() string {
	var b strings.Builder
	b.WriteString(
		"| RTT ms (ping) | loss % | read MB/s: usbip | EasyFind | ÷ | 4 KiB ms, median / p99: usbip | EasyFind " +
			"| ÷ (median) | ÷ (p99) | ready after s: usbip | EasyFind | ÷ |\n",
	)
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, c := range r.cells {
		theirs, ours, ok := r.pair(c)
		if !ok {
			continue
		}
		fmt.Fprintf(&b, "| %d (%s) | %g | %s | %s | **%s** | %s / %s | %s / %s | **%s** | %s | %s | %s | **%s** |\n",
			c.rtt.Milliseconds(), rounded(r.rtt[c]), c.loss*100,
			rounded(theirs.sequential), rounded(ours.sequential), ratio(ours.sequential, theirs.sequential),
			rounded(theirs.median), rounded(theirs.p99), rounded(ours.median), rounded(ours.p99),
			ratio(ours.median, theirs.median), ratio(ours.p99, theirs.p99),
			rounded(theirs.appears), rounded(ours.appears), ratio(ours.appears, theirs.appears))
	}
	return b.String()
}

// pair returns the figures of both ways, and whether both were measured.
func (r *report) pair(c cell) (theirs, ours figures, ok bool) {
	usbip, easyfind := r.samples[c][ways[0].name], r.samples[c][ways[1].name]
	return figuresOf(usbip), figuresOf(easyfind), len(usbip) > 0 && len(easyfind) > 0
}

// slower lists the cells in which EasyFind is worse beyond noise, and by how much.
func (r *report) slower() []string {
	const noise = 1.05
	var all []string
	for _, c := range r.cells {
		theirs, ours, ok := r.pair(c)
		if !ok {
			continue
		}
		var words []string
		for _, f := range []struct {
			what          string
			better, worse float64
		}{
			{"reading takes %s × as long", theirs.sequential, ours.sequential},
			{"a read of 4 KiB takes %s × as long", ours.median, theirs.median},
			{"its 99th percentile takes %s × as long", ours.p99, theirs.p99},
			{"the disk is ready after %s × the time", ours.appears, theirs.appears},
		} {
			if f.better > f.worse*noise {
				words = append(words, fmt.Sprintf(f.what, ratio(f.better, f.worse)))
			}
		}
		if len(words) > 0 {
			all = append(all, fmt.Sprintf("%s:\n  %s.", c, strings.Join(words, ";\n  ")))
		}
	}
	return all
}

// paths lists the paths that carried EasyFind's disk.
func (r *report) paths() string {
	var all []string
	for _, c := range r.cells {
		for _, s := range r.samples[c][ways[1].name] {
			all = append(all, s.path)
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), "; ")
}

// rounds returns how often the cells were measured.
func (r *report) rounds() int {
	n := 0
	for _, c := range r.cells {
		n = max(n, len(r.samples[c][ways[0].name]))
	}
	return n
}

// write writes the page of the guide.
func (r *report) write(t *testing.T, name string) {
	t.Helper()
	page, err := template.ParseFiles(filepath.Join("testdata", "benchmarks.md.tmpl"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := page.Execute(&b, map[string]any{
		"Date": time.Now().Format(time.DateOnly), "Cores": runtime.NumCPU(), "Kernel": r.kernel,
		"Congestion": r.congestion,
		"Paths":      r.paths(), "Rounds": r.rounds(), "Took": r.took.Round(time.Second), "Local": r.local,
		"Table": r.tables(), "Slower": r.slower(),
	}); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("written to %s", name)
}
