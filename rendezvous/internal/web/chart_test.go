package web

import (
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
)

func TestChartDrawsStepsAndGaps(t *testing.T) {
	a, b := newSeries("Direct", "one", 4), newSeries("Relayed", "two", 4)
	for i, v := range []int64{3, 0, 1} {
		if i != 1 {
			a.set(i, v)
			b.set(i, 1)
		}
	}
	b.set(9, 1) // beyond the end
	c := chart{
		Title:   "Pairs",
		Series:  []series{a, b},
		From:    time.Unix(0, 0),
		Step:    time.Hour,
		Steps:   4,
		Stacked: true,
	}.draw()
	for got, want := range map[string]string{
		c.Shapes[0].Area: "M0 100V25H1V100H0ZM2 100V75H3V100H2Z",
		c.Shapes[0].Line: "M0 25V25H1M2 75V75H3",
		c.Shapes[1].Area: "M0 25V0H1V25H0ZM2 75V50H3V75H2Z",
		c.Max:            "4",
		c.Says:           "Pairs. Direct: at most 3, Relayed: at most 1.",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if len(c.Rows) != 2 || c.Rows[0].Figures[0] != "1" || c.Rows[1].Figures[1] != "1" || c.Empty {
		t.Errorf("rows %+v", c.Rows)
	}
	if want := `"values":[3,null,1,null]`; !strings.Contains(c.Data, want) {
		t.Errorf("data %s", c.Data)
	}
	if none := (chart{Series: []series{newSeries("x", "one", 3)}, Step: time.Hour, Steps: 3}).draw(); !none.Empty ||
		none.Shapes[0].Area != "" {
		t.Errorf("an empty chart is drawn as %+v", none)
	}
}

func TestDayAxisEndsWithLastDay(t *testing.T) {
	first := time.Date(2026, 10, 29, 0, 0, 0, 0, time.UTC)
	c := chart{Series: []series{newSeries("x", "one", 30)}, From: first, Step: 24 * time.Hour, Steps: 30}.draw()
	if from, to := c.Ticks[0].At, c.Ticks[len(c.Ticks)-1].At; !from.Equal(first) ||
		!to.Equal(first.AddDate(0, 0, 29)) {
		t.Errorf("30 days are labelled from %s to %s", from, to)
	}
}

func TestScaleIsRound(t *testing.T) {
	for n, want := range map[int64]int64{
		0: 1, 1: 1, 2: 2, 3: 4, 5: 6, 7: 10, 11: 20, 51: 60, 1 << 40: 2_000_000_000_000,
	} {
		if got := niceAbove(n); got != want {
			t.Errorf("%d: %d, want %d", n, got, want)
		}
	}
	if niceAbove(1<<63-1) <= 0 {
		t.Error("the largest figure overflows")
	}
}

func TestFiguresAreFormatted(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 999: "999", 1000: "1\u202f000", 1234567: "1\u202f234\u202f567", -1234: "-1\u202f234",
	} {
		if got := grouped(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 123456: "123 kB", 5 << 40: "5.5 TB"} {
		if got := sized(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestEveryEventKindHasText(t *testing.T) {
	for _, kind := range audit.Kinds {
		if eventWords[kind] == "" {
			t.Errorf("the audit page has no text for %s", kind)
		}
	}
}
