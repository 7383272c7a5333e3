package congestion

import (
	"fmt"
	"testing"
	"time"
)

func TestTable(t *testing.T) {
	ms := time.Millisecond
	for _, c := range []struct {
		name string
		p    path
	}{
		{"50ms clean q50", path{50, 50 * ms, 0, 0, 1, 50 * ms}},
		{"50ms 1%", path{50, 50 * ms, 0, 0.01, 1, 50 * ms}},
		{"50ms 2%", path{50, 50 * ms, 0, 0.02, 1, 50 * ms}},
		{"50ms 5%", path{50, 50 * ms, 0, 0.05, 1, 50 * ms}},
		{"60ms j20 1%b5", path{50, 60 * ms, 20 * ms, 0.01, 5, 50 * ms}},
		{"60ms j20", path{50, 60 * ms, 20 * ms, 0, 1, 50 * ms}},
		{"20ms j10", path{50, 20 * ms, 10 * ms, 0, 1, 50 * ms}},
		{"50ms q10", path{50, 50 * ms, 0, 0, 1, 10 * ms}},
		{"50ms q500", path{50, 50 * ms, 0, 0, 1, 500 * ms}},
		{"500M 50ms", path{500, 50 * ms, 0, 0, 1, 50 * ms}},
		{"5M 100ms", path{5, 100 * ms, 0, 0, 1, 200 * ms}},
		{"1G 100ms", path{1000, 100 * ms, 0, 0, 1, 20 * ms}},
	} {
		row := fmt.Sprintf("%-16s", c.name)
		for _, kind := range []string{"ours", "cubic"} {
			s := newSimulation(c.p)
			var cc control = New(packetBytes)
			if kind == "cubic" {
				cc = newCubic()
			}
			f := s.start(cc, 0)
			s.runUntil(Time(time.Second))
			first := f.rateSince(0, time.Second)
			s.runUntil(Time(3 * time.Second))
			s.queue = nil
			d, l, n := f.delivered, f.lostTotal, f.next
			s.runUntil(Time(15 * time.Second))
			row += fmt.Sprintf(" | %s 1s %6.1f then %6.1f queue %5.1f p99 %5.1f lost %4.1f%%", kind, first,
				f.rateSince(d, 12*time.Second), s.queue.at(0.5), s.queue.at(0.99), 100*float64(f.lostTotal-l)/float64(f.next-n))
		}
		fmt.Println(row)
	}
	for _, depth := range []time.Duration{10 * ms, 50 * ms, 200 * ms, 500 * ms} {
		for _, other := range []string{"cubic", "ours", "late"} {
			s := newSimulation(path{50, 50 * ms, 0, 0, 1, depth})
			a := s.start(New(packetBytes), 0)
			var cc control = newCubic()
			at := time.Duration(0)
			if other != "cubic" {
				cc = New(packetBytes)
				if other == "late" {
					at = 5 * time.Second
				}
			}
			b := s.start(cc, at)
			s.runUntil(Time(10 * time.Second))
			s.queue = nil
			da, db := a.delivered, b.delivered
			s.runUntil(Time(40 * time.Second))
			x, y := a.rateSince(da, 30*time.Second), b.rateSince(db, 30*time.Second)
			fmt.Printf("share q%v with %-6s %5.1f : %5.1f  (1:%.2f) queue %.1f\n", depth, other, x, y, y/x, s.queue.at(0.5))
		}
	}
}
