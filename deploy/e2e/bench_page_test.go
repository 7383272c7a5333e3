package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestBenchPageSaysWhatIsWorse writes the page from made-up figures: reading is twice as
// fast as with usbip, a small read takes twice as long, and the mouse was not measured.
func TestBenchPageSaysWhatIsWorse(t *testing.T) {
	r := newReport(waysNamed(t, "usbip quic"))
	first, second := cell{rtt: 20 * time.Millisecond}, cell{rtt: 50 * time.Millisecond, loss: 0.01, rate: 50}
	for _, c := range []cell{first, second} {
		r.begin(c, 21)
		r.add(c, ways[0], sample{"read": {5}, "small": {60, 62, 64}, "mouse": {40}})
		r.add(c, ways[1], sample{"read": {10}, "small": {120, 124, 128}})
	}
	dir := t.TempDir()
	r.write(t, dir)
	raw, err := os.ReadFile(filepath.Join(dir, "benchmarks.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	for _, want := range []string{
		"**Reading a large file**: 2.00 to 2.00 (QUIC)",
		"| 50 ms, 1 %, 50 Mbit/s | 5.00 | 10.0 | **2.00 ×** |",
		"| 20 ms, 0 % | 62.0 (p99 64.0) | 124 (p99 128) | **0.50 ×** |",
		"| 20 ms, 0 % | 40.0 | – | – |",
		"* 20 ms, 0 %, EasyFind, QUIC: Waiting for one block of 4 KiB (0.50 ×)\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	images := regexp.MustCompile(`!\[[^]]*\]\(([^)]+)\)`).FindAllStringSubmatch(page, -1)
	if len(images) != 3 {
		t.Errorf("%d images, want one for each of 3 measures", len(images))
	}
	for _, m := range images {
		if _, err := os.Stat(filepath.Join(dir, m[1])); err != nil {
			t.Error(err)
		}
	}
}
