package web

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"
)

// chart shows figures over time as a step diagram. A figure is as wide as the span
// that it was measured in; a span without a measurement is a gap.
type chart struct {
	Title   string
	Series  []series
	From    time.Time
	Step    time.Duration
	Steps   int
	Stacked bool
	Bytes   bool // the figures are bytes
	Sum     bool // several steps are folded into their sum; otherwise into their maximum

	// draw computes the fields below.
	Max, Half string  // the labels of the scale
	Shapes    []shape // bottom first
	Ticks     []tick  // along the time axis
	Says      string  // the chart in words
	Data      string  // the figures for the script, as JSON
	Rows      []row   // the figures as a table
	Empty     bool    // no figure is known
}

// series holds one figure for each step of a chart.
type series struct {
	Name  string
	Class string // of the style sheet
	At    []int64
	Known []bool // whether the step has a figure
}

func newSeries(name, class string, steps int) series {
	return series{Name: name, Class: class, At: make([]int64, steps), Known: make([]bool, steps)}
}

func (s series) set(step int, value int64) {
	if step >= 0 && step < len(s.At) {
		s.At[step], s.Known[step] = value, true
	}
}

// shape is a series as two paths of an SVG image that is as wide as the number of
// steps and 100 high.
type shape struct{ Class, Area, Line string }

type tick struct {
	At   time.Time
	Date bool // shows the day instead of the hour
}

// row is one row of the table.
type row struct {
	At      time.Time
	Date    bool
	Figures []string
}

const (
	ticks   = 4 // parts of the time axis
	maxRows = 32
)

// draw returns the chart with the fields that the template shows.
func (c chart) draw() chart {
	c.Ticks = nil
	days := c.Step*time.Duration(c.Steps) > 48*time.Hour
	for n := range ticks + 1 {
		at := c.From.Add(time.Duration(n*c.Steps/ticks) * c.Step)
		if days && n == ticks {
			at = at.Add(-c.Step) // label the last day instead of the day after it
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

// shape draws one series on top of a base.
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

// niceAbove returns the least of 1, 2, 4, 6, 10, 20, 40, ... that is at least n. The
// number and its half are round.
func niceAbove(n int64) int64 {
	for unit := int64(1); ; unit *= 10 {
		for _, f := range []int64{1, 2, 4, 6} {
			if f*unit >= n || unit > math.MaxInt64/20 {
				return f * unit
			}
		}
	}
}

// figure formats a figure.
func (c chart) figure(n int64) string {
	if c.Bytes {
		return sized(n)
	}
	return grouped(n)
}

// fold combines the figures of several steps into one.
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

// describe sets Says, which screen readers read, and Data, from which the script
// shows the figure under the pointer.
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
		says = append(says, s.Name+": "+text)
	}
	c.Says = c.Title + ". " + strings.Join(says, ", ") + "."
	raw, err := json.Marshal(all)
	if err != nil {
		return // cannot happen: the value holds only numbers and names
	}
	c.Data = string(raw)
}

// tabulate sets Rows, at most maxRows, the newest first.
func (c *chart) tabulate(days bool) {
	per := (c.Steps + maxRows - 1) / maxRows
	for hour := int(time.Hour / c.Step); hour > 0 && per%hour != 0 && per > hour; {
		per++
	}
	for from := (c.Steps - 1) / per * per; from >= 0; from -= per {
		r := row{At: c.From.Add(time.Duration(from) * c.Step), Date: days}
		some := false
		for _, s := range c.Series {
			value, known := c.fold(s, from, min(c.Steps, from+per))
			text := "–"
			if known {
				some, text = true, c.figure(value)
			}
			r.Figures = append(r.Figures, text)
		}
		if some {
			c.Rows = append(c.Rows, r)
		}
	}
}
