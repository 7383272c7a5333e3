package web

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"
)

// chart is figures over time, as steps: what was measured in a span of time is
// as wide as the span, and where nothing was measured there is nothing.
type chart struct {
	Title   string
	Series  []series
	From    time.Time
	Step    time.Duration
	Steps   int
	Stacked bool
	Bytes   bool // the figures are bytes
	Sum     bool // figures of several steps add up; else the most counts
	// The rest is computed by draw.
	Max, Half string   // the labels of the scale
	Shapes    []shape  // bottom first
	Ticks     []tick   // along the time
	Says      string   // the chart in words
	Data      string   // the figures for the module, as JSON
	Rows      []rowOf  // the figures as a table
	Empty     bool     // there is nothing to show
	Unit      string   // of the figures, for the table
	Totals    []string // of each series, for the legend
}

// series is one kind of figure, from the first step to the last; a step without
// any is not in Known.
type series struct {
	Name  string
	Class string // of the style sheet
	At    []int64
	Known []bool
}

func newSeries(name, class string, steps int) series {
	return series{Name: name, Class: class, At: make([]int64, steps), Known: make([]bool, steps)}
}

func (s series) set(step int, value int64) {
	if step >= 0 && step < len(s.At) {
		s.At[step], s.Known[step] = value, true
	}
}

// shape is a series as the path of an SVG whose width is the number of steps and
// whose height is 100.
type shape struct{ Class, Area, Line string }

type tick struct {
	At   time.Time
	Date bool // the day is meant, not the hour
}

type rowOf struct {
	At      time.Time
	Date    bool
	Figures []string
}

const (
	ticks   = 4 // parts of the time axis
	maxRows = 32
)

// draw computes what the template shows.
func (c chart) draw() chart {
	c.Ticks = nil
	days := c.Step*time.Duration(c.Steps) > 48*time.Hour
	for n := range ticks + 1 {
		at := c.From.Add(time.Duration(n*c.Steps/ticks) * c.Step)
		if days && n == ticks {
			at = at.Add(-c.Step) // the last day, not the one after it
		}
		c.Ticks = append(c.Ticks, tick{at, days})
	}
	top := int64(0)
	c.Empty = true
	for i := range c.Steps {
		sum := int64(0)
		for _, s := range c.Series {
			if s.Known[i] {
				c.Empty = false
			}
			if c.Stacked {
				sum += s.At[i]
			} else {
				sum = max(sum, s.At[i])
			}
		}
		top = max(top, sum)
	}
	scale := niceAbove(top)
	c.Max, c.Half = c.figure(scale), c.figure(scale/2)
	if scale < 2 {
		c.Half = ""
	}
	base := make([]int64, c.Steps)
	for _, s := range c.Series {
		c.Shapes = append(c.Shapes, c.shape(s, base, scale))
		if c.Stacked {
			for i := range base {
				base[i] += s.At[i]
			}
		}
	}
	c.describe()
	c.tabulate(days)
	return c
}

// shape draws one series above a base.
func (c chart) shape(s series, base []int64, scale int64) shape {
	y := func(v int64) float64 { return math.Round((100-float64(v)/float64(scale)*100)*100) / 100 }
	var area, line strings.Builder
	for i := 0; i < c.Steps; i++ {
		if !s.Known[i] {
			continue
		}
		first := i
		for i+1 < c.Steps && s.Known[i+1] {
			i++
		}
		top := func(i int) float64 { return y(base[i] + s.At[i]) }
		fmt.Fprintf(&area, "M%d %g", first, y(base[first]))
		fmt.Fprintf(&line, "M%d %g", first, top(first))
		for at := first; at <= i; at++ {
			step := fmt.Sprintf("V%gH%d", top(at), at+1)
			area.WriteString(step)
			line.WriteString(step)
		}
		for at := i; at >= first; at-- {
			fmt.Fprintf(&area, "V%gH%d", y(base[at]), at)
		}
		area.WriteString("Z")
	}
	return shape{Class: s.Class, Area: area.String(), Line: line.String()}
}

// niceAbove is the least of 1, 2, 4, 6, 10, 20, 40, ... that is not below n: round,
// and so is its half.
func niceAbove(n int64) int64 {
	for unit := int64(1); ; unit *= 10 {
		for _, f := range []int64{1, 2, 4, 6} {
			if f*unit >= n || unit > math.MaxInt64/20 {
				return f * unit
			}
		}
	}
}

// figure is one in words.
func (c chart) figure(n int64) string {
	if c.Bytes {
		return sized(n)
	}
	return grouped(n)
}

// fold is the figure of several steps.
func (c chart) fold(s series, from, to int) (value int64, known bool) {
	for i := from; i < to; i++ {
		if !s.Known[i] {
			continue
		}
		known = true
		if c.Sum {
			value += s.At[i]
		} else {
			value = max(value, s.At[i])
		}
	}
	return value, known
}

// describe says what the chart shows, for who does not see it, and gives the
// module the figures for who points at it.
func (c *chart) describe() {
	type data struct {
		Name   string   `json:"name"`
		Values []*int64 `json:"values"`
	}
	all := struct {
		From   int64  `json:"from"` // unix milliseconds
		Step   int64  `json:"step"` // milliseconds
		Bytes  bool   `json:"bytes"`
		Series []data `json:"series"`
	}{c.From.UnixMilli(), c.Step.Milliseconds(), c.Bytes, nil}
	var says []string
	for _, s := range c.Series {
		values := make([]*int64, c.Steps)
		for i := range values {
			if s.Known[i] {
				values[i] = &s.At[i]
			}
		}
		all.Series = append(all.Series, data{s.Name, values})
		total, known := c.fold(s, 0, c.Steps)
		word := "at most "
		if c.Sum {
			word = "in all "
		}
		text := word + c.figure(total)
		if !known {
			text = "none"
		}
		c.Totals = append(c.Totals, text)
		says = append(says, s.Name+": "+text)
	}
	c.Says = c.Title + ". " + strings.Join(says, ", ") + "."
	raw, err := json.Marshal(all)
	if err != nil {
		return // numbers and names cannot fail
	}
	c.Data = string(raw)
}

// tabulate puts the figures into at most maxRows rows, the newest first.
func (c *chart) tabulate(days bool) {
	per := (c.Steps + maxRows - 1) / maxRows
	for hour := int(time.Hour / c.Step); hour > 0 && per%hour != 0 && per > hour; {
		per++
	}
	for from := (c.Steps - 1) / per * per; from >= 0; from -= per {
		row := rowOf{At: c.From.Add(time.Duration(from) * c.Step), Date: days}
		some := false
		for _, s := range c.Series {
			value, known := c.fold(s, from, min(c.Steps, from+per))
			text := "–"
			if known {
				some, text = true, c.figure(value)
			}
			row.Figures = append(row.Figures, text)
		}
		if some {
			c.Rows = append(c.Rows, row)
		}
	}
}
