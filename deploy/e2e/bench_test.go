package e2e

import (
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	benchUSB    = flag.Bool("bench-usb", false, "measure remote devices and stock usbip, for up to -bench-time")
	benchWrite  = flag.Bool("bench-write", false, "write the figures to deploy/docs/benchmarks.md")
	benchFull   = flag.Bool("bench-full", false, "measure every cell, three times, without a limit of time (hours)")
	benchTime   = flag.Duration("bench-time", 14*time.Minute, "start no cell that would end later")
	benchRounds = flag.Int("bench-rounds", 1, "measurements of each cell")
	benchWays   = flag.String("bench-ways", "usbip quic tls", "how the devices travel")
	benchParts  = flag.String("bench-parts", "disk files mouse serial", "what to measure; audio can be added")
	benchCells  = flag.String(
		"bench-cells",
		"50/0/0 50/1/0 0/0/0 100/0/0 20/0/0 50/0/50 200/0/0",
		"conditions of the network: round trip in ms / loss in % / rate in Mbit/s, where 0 is unlimited",
	)
)

// cell is a condition of the network between the machines.
type cell struct {
	rtt  time.Duration // added by the link, half in each direction
	loss float64       // probability that a packet is lost, in each direction
	rate float64       // Mbit/s in each direction; 0: unlimited
}

func (c cell) String() string {
	text := fmt.Sprintf("%d ms, %g %%", c.rtt.Milliseconds(), c.loss*100)
	if c.rate > 0 {
		text += fmt.Sprintf(", %g Mbit/s", c.rate)
	}
	return text
}

// cells returns the conditions to measure.
func cells(t *testing.T) []cell {
	t.Helper()
	if *benchFull {
		var all []cell
		for _, rate := range []float64{0, 50} {
			for _, loss := range []float64{0, 0.01} {
				for _, rtt := range []time.Duration{0, 20, 50, 100, 200} {
					all = append(all, cell{rtt * time.Millisecond, loss, rate})
				}
			}
		}
		return all
	}
	var all []cell
	for word := range strings.FieldsSeq(*benchCells) {
		var figures [3]float64
		parts := strings.Split(word, "/")
		for i, part := range parts {
			value, err := strconv.ParseFloat(part, 64)
			if err != nil || value < 0 || len(parts) != len(figures) {
				t.Fatalf("-bench-cells: %q is no round trip, loss and rate, such as 50/1/0", word)
			}
			figures[i] = value
		}
		all = append(all, cell{time.Duration(figures[0] * 1e6), figures[1] / 100, figures[2]})
	}
	return all
}

// TestBenchUSB measures the same devices over the same emulated link, alternately through
// Linux's usbip and through EasyFind, so that other work of this machine affects both.
func TestBenchUSB(t *testing.T) {
	if !*benchUSB {
		t.Skip("a benchmark, run by make bench")
	}
	prefer(t)
	rounds, limit := *benchRounds, *benchTime
	if *benchFull {
		rounds, limit = max(rounds, 3), 24*time.Hour
	}
	all, chosen := cells(t), waysNamed(t, *benchWays)
	r := newReport(chosen)
	began := time.Now()
	b := startBench(t, r)
	longest := time.Duration(0)
	for n := range rounds * len(all) {
		c, round := all[n%len(all)], n/len(all)
		if left := limit - time.Since(began); n > 0 && left < longest {
			t.Logf("%d of %d measurements of cells: the next one would take %v and %v are left",
				n, rounds*len(all), longest.Round(time.Second), left.Round(time.Second))
			break
		}
		from := time.Now()
		b.round(t, r, c, round)
		longest = max(longest, time.Since(from))
	}
	r.took = time.Since(began)
	fmt.Print(r.tables())
	if *benchWrite {
		r.write(t, filepath.Join("..", "docs"))
	}
}

// waysNamed returns the ways whose keys are in a list.
func waysNamed(t *testing.T, list string) []way {
	t.Helper()
	words := strings.Fields(list)
	chosen := slices.DeleteFunc(slices.Clone(ways), func(w way) bool { return !slices.Contains(words, w.key) })
	if len(chosen) == 0 || len(chosen) != len(words) {
		t.Fatalf("-bench-ways: %q is no list of usbip, quic and tls", list)
	}
	return chosen
}

// round measures every way once in a cell; the first one changes with each round. If a
// measurement fails, the test fails at its end, and the page has no figures of it.
func (b *bench) round(t *testing.T, r *report, c cell, round int) {
	t.Helper()
	b.setLink(t, c)
	r.begin(c, b.ping(t))
	order := slices.Clone(r.ways)
	if round%2 == 1 {
		slices.Reverse(order)
	}
	for _, w := range order {
		t.Run(fmt.Sprintf("%s, %s, round %d", c, w.name, round+1), func(t *testing.T) {
			began := time.Now()
			s := b.measure(t, w)
			r.add(c, w, s)
			t.Logf("%s: %s: %v (took %v)", c, w.name, s, time.Since(began).Round(time.Second))
		})
	}
}
